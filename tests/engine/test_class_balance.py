"""Uneven classes: weights are torch's and scikit-learn's, draws follow the chances, both only from seed and rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from feinschliff.engine.batching import collate
from feinschliff.engine.class_balance import balanced_order, class_weights, row_chances
from feinschliff.engine.step import backward
from tests.numerics.tiny_runs import made_run, made_splits

UNEVEN = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


def test_balanced_weights_are_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=UNEVEN.numpy())
    np.testing.assert_allclose(class_weights(UNEVEN, 3, "balanced").numpy(), expected, rtol=1e-6)


def test_sqrt_weights_are_their_roots_with_a_mean_of_one() -> None:
    balanced, root = class_weights(UNEVEN, 3, "balanced"), class_weights(UNEVEN, 3, "sqrt")
    torch.testing.assert_close(root / root[0], (balanced / balanced[0]).sqrt())
    assert float(root[UNEVEN].mean()) == pytest.approx(1.0)


def test_a_class_without_rows_has_a_finite_weight() -> None:
    for kind in ("balanced", "sqrt"):
        assert bool(torch.isfinite(class_weights(UNEVEN, 5, kind)).all())
    none_and_all = torch.tensor([[0.0, 1.0, 1.0]] * 9 + [[0.0, 1.0, 0.0]])
    assert class_weights(none_and_all, 3, "balanced").tolist() == pytest.approx([9.0, 1 / 9, 1 / 9])


@pytest.mark.parametrize("micro_batch_tokens", [8192, 40])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["balanced", "sqrt"])
def test_the_loss_is_torchs_weighted_mean(
    tiny_bert: Path, tmp_path: Path, kind: str, smoothing: float, micro_batch_tokens: int
) -> None:
    """Over any number of micro batches: a weighted mean is divided once, by the sum of all weights."""
    splits = made_splits()
    splits.train[:] = splits.train[:14] + [row for row in splits.train[14:] if row.labels[0] != "film"][:20]
    changes = {"label_smoothing": smoothing, "micro_batch_tokens": micro_batch_tokens, "max_grad_norm": None}
    prepared = made_run(tiny_bert, tmp_path, splits, balance={"class_weights": kind}, **changes)
    learner, weights = prepared.learner, prepared.task.class_weights
    assert weights is not None
    assert learner.targets is not None
    assert float(weights.max() / weights.min()) > 1.5
    learner.network.train()
    rows = np.arange(len(learner.table))
    loss = backward(learner, rows)
    found = learner.masters.masters[-1].grad
    assert found is not None
    found = found / loss.num_targets
    learner.masters.discard_gradients()
    batch = collate(learner.table, rows, learner.targets)
    assert batch.targets is not None
    expected = F.cross_entropy(learner.network(batch), batch.targets, weight=weights, label_smoothing=smoothing)
    expected.backward()
    assert loss.loss_sum / loss.num_targets == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(found, learner.masters.masters[-1].grad, rtol=1e-4, atol=1e-7)


def test_of_several_labels_a_yes_counts_by_its_weight(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, made_splits(kind="multi"), balance={"class_weights": "balanced"})
    learner, weights = prepared.learner, prepared.task.class_weights
    assert weights is not None
    assert learner.targets is not None
    odds = (1 - learner.targets).sum(0) / learner.targets.sum(0)
    torch.testing.assert_close(weights, odds)
    batch = collate(learner.table, np.arange(20), learner.targets)
    out = learner.objective.loss(learner.network, batch)
    assert batch.targets is not None
    element = torch.where(batch.targets > 0, weights, torch.ones(()))
    expected = F.binary_cross_entropy_with_logits(
        learner.network(batch), batch.targets, weight=element, reduction="sum"
    )
    torch.testing.assert_close(out.loss_sum, expected)
    assert out.num_targets == pytest.approx(float(element.sum()))


def test_every_class_is_drawn_as_often() -> None:
    chances = row_chances(UNEVEN)
    assert chances.sum() == pytest.approx(1.0)
    drawn = np.concatenate([balanced_order(chances, 7, epoch) for epoch in range(200)])
    share = np.bincount(UNEVEN.numpy()[drawn]) / len(drawn)
    assert np.abs(share - 1 / 3).max() < 0.02  # 20,000 draws: a standard error of 0.0033
    within = np.bincount(drawn, minlength=100)[:60]
    assert within.min() > 0.5 * within.mean(), "rows of one class are drawn alike"


def test_of_several_labels_rare_ones_and_rows_without_any_come_more_often() -> None:
    targets = torch.tensor([[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 2 + [[1.0, 1.0]] * 2 + [[0.0, 0.0]])
    chances = row_chances(targets)
    common, rare, both, none = chances[0], chances[8], chances[10], chances[12]
    assert common < both < rare < none
    assert rare / common == pytest.approx(10 / 4)
    assert none / common == pytest.approx(10.0)


def test_an_epoch_depends_on_seed_and_number_alone(tiny_bert: Path, tmp_path: Path) -> None:
    learner = made_run(tiny_bert, tmp_path, balance={"sampling": "balanced"}).learner
    first = learner.order(3, 2)
    assert len(first) == len(learner.table)
    assert np.array_equal(first, learner.order(3, 2))
    assert not np.array_equal(first, learner.order(3, 1))
    assert not np.array_equal(first, learner.order(4, 2))
    assert sorted(made_run(tiny_bert, tmp_path).learner.order(3, 2).tolist()) == list(range(48))
