"""The contrast of pairs: the sum over pairs written out, and its place beside the task's loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from feinschliff.engine.batching import collate
from feinschliff.engine.pair_contrast import PairContrast, likeness, pair_loss
from tests.numerics.tiny_runs import made_run, made_splits

ROWS = np.arange(12)
WEIGHT = 0.7


def written_out(features: torch.Tensor, alike: torch.Tensor) -> float:
    """Row by row and pair by pair."""
    total = 0.0
    for i in range(len(features)):
        near, far = [], []
        for j in range(len(features)):
            if i != j:
                error = float((F.cosine_similarity(features[i], features[j], dim=0) - alike[i, j]) ** 2)
                (near if alike[i, j] > 0 else far).append(error)
        total += 0.5 * sum(float(np.mean(errors)) for errors in (near, far) if errors)
    return total


@pytest.mark.parametrize("classes", [[0, 1, 0, 1, 1, 2], [0, 0, 0], [0, 1, 2], [0]])
def test_the_loss_is_the_mean_over_pairs(classes: list[int]) -> None:
    targets = torch.tensor(classes)
    features = torch.randn(len(targets), 5, generator=torch.Generator().manual_seed(1))
    alike = (targets[:, None] == targets[None]).float()
    assert float(pair_loss(features, targets)) == pytest.approx(written_out(features, alike), rel=1e-5, abs=1e-7)


def test_sets_of_labels_are_alike_by_what_they_share() -> None:
    targets = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], dtype=torch.float32)
    expected = [[1, 0.5, 0, 0, 0], [0.5, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    assert likeness(targets).tolist() == expected


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_it_stands_beside_the_loss_that_is_shown(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    changes = {"label_smoothing": 0.0, "regularisation": {"pair_contrast": WEIGHT}}
    learner = made_run(tiny_bert, tmp_path / "with", made_splits(kind=kind), **changes).learner
    assert isinstance(learner.objective, PairContrast)
    plain = made_run(tiny_bert, tmp_path / "plain", made_splits(kind=kind), label_smoothing=0.0).learner
    batch = collate(learner.table, ROWS, learner.targets)
    out, without = (one.objective.loss(one.network.eval(), batch) for one in (learner, plain))
    assert float(out.loss_sum.detach()) == pytest.approx(float(without.loss_sum.detach()), rel=1e-6)
    assert batch.targets is not None
    assert out.penalty is not None
    with torch.no_grad():
        expected = WEIGHT * written_out(learner.network.features(batch), likeness(batch.targets)) / len(ROWS)
    assert float(out.penalty.detach()) / out.num_targets == pytest.approx(expected, rel=1e-4)


def test_training_with_it_draws_classes_apart(tiny_bert: Path, tmp_path: Path) -> None:
    def apart(weight: float, folder: Path) -> float:
        from feinschliff.engine import loop
        from tests.numerics.tiny_runs import made_fit

        changes = {"epochs": 4.0, "learning_rate": 1e-3, "regularisation": {"pair_contrast": weight}}
        prepared = made_run(tiny_bert, folder, **changes)
        list(loop.fit(made_fit(prepared, folder)))
        batch = collate(prepared.learner.table, np.arange(24), prepared.learner.targets)
        assert batch.targets is not None
        with torch.no_grad():
            return float(pair_loss(prepared.network.eval().features(batch), batch.targets))

    assert apart(5.0, tmp_path / "with") < 0.9 * apart(0.0, tmp_path / "without")
