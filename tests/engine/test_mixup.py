"""Mixup: the loss is cross-entropy of mixed features against mixed labels, as torch writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from feinschliff.engine.batching import collate
from feinschliff.engine.mixup import Mixup
from tests.numerics.tiny_runs import made_run, made_splits

ROWS = np.arange(12)


@pytest.mark.parametrize("kind", ["single", "multi", "pair"])
def test_the_loss_is_that_of_mixed_features_and_mixed_labels(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    changes = {"label_smoothing": 0.0, "regularisation": {"mixup": 0.4}}
    learner = made_run(tiny_bert, tmp_path, made_splits(kind=kind), **changes).learner
    assert isinstance(learner.objective, Mixup)
    network = learner.network.train()
    batch = collate(learner.table, ROWS, learner.targets)
    torch.manual_seed(3)
    out = learner.objective.loss(network, batch)

    torch.manual_seed(3)
    share = torch.distributions.Beta(0.4, 0.4).sample()
    partner = torch.randperm(len(ROWS))
    features = network.features(batch)
    logits = network.head(share * features + (1 - share) * features[partner])
    assert batch.targets is not None
    goal = batch.targets if kind == "multi" else F.one_hot(batch.targets, 3).float()
    mixed = share * goal + (1 - share) * goal[partner]
    mean = F.binary_cross_entropy_with_logits if kind == "multi" else F.cross_entropy
    expected = mean(logits, mixed)
    assert 0.0 < float(share) < 1.0
    torch.testing.assert_close(out.loss_sum / out.num_targets, expected, rtol=1e-5, atol=1e-6)


def test_shares_lie_at_the_ends_where_alpha_is_small(tiny_bert: Path, tmp_path: Path) -> None:
    """Beta(0.1, 0.1): most mixtures are nearly one of the two rows, so the loss is nearly that of plain rows."""
    torch.manual_seed(0)
    shares = torch.distributions.Beta(0.1, 0.1).sample((2000,))
    assert float(((shares < 0.1) | (shares > 0.9)).float().mean()) > 0.7
    learner = made_run(tiny_bert, tmp_path, regularisation={"mixup": 0.001}, label_smoothing=0.0).learner
    network = learner.network.eval()
    batch = collate(learner.table, ROWS, learner.targets)
    plain = made_run(tiny_bert, tmp_path, label_smoothing=0.0).learner.objective.loss(network, batch)
    torch.manual_seed(0)
    torch.testing.assert_close(learner.objective.loss(network, batch).loss_sum, plain.loss_sum, rtol=1e-3, atol=1e-3)
