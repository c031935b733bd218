"""R-Drop: loss and gradient of two written-out passes with the same dropout masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from feinschliff.engine.batching import collate
from feinschliff.engine.r_drop import RDrop
from feinschliff.engine.step import backward
from tests.numerics.tiny_runs import made_run, made_splits

ALPHA = 0.7
ROWS = np.arange(12)


def divergence(first: torch.Tensor, second: torch.Tensor, kind: str) -> torch.Tensor:
    """Mean of both directions by torch's own, per row (one label) or per label of a row."""
    if kind == "multi":
        p, q = (torch.stack([F.logsigmoid(x), F.logsigmoid(-x)], -1).flatten(0, 1) for x in (first, second))
    else:
        p, q = torch.log_softmax(first, -1), torch.log_softmax(second, -1)
    both = [F.kl_div(a, b, log_target=True, reduction="batchmean") for a, b in ((p, q), (q, p))]
    return (both[0] + both[1]) / 2


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_the_gradient_is_that_of_the_papers_sum(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    options = {"r_drop": ALPHA}
    changes = {"model": {"dropout": 0.3}, "label_smoothing": 0.0, "regularisation": options}
    learner = made_run(tiny_bert, tmp_path, made_splits(kind=kind), **changes).learner
    assert isinstance(learner.objective, RDrop)
    learner.network.train()
    torch.manual_seed(5)
    loss = backward(learner, ROWS)
    pairs = zip(learner.masters.names, learner.masters.masters, strict=True)
    found = {name: m.grad.clone() / loss.num_targets for name, m in pairs if m.grad is not None}
    learner.masters.discard_gradients()

    batch = collate(learner.table, ROWS, learner.targets)
    torch.manual_seed(5)
    first, second = learner.network(batch), learner.network(batch)
    assert not torch.equal(first, second)
    assert batch.targets is not None
    mean = F.binary_cross_entropy_with_logits if kind == "multi" else F.cross_entropy
    plain = (mean(first, batch.targets) + mean(second, batch.targets)) / 2
    (plain + ALPHA * divergence(first, second, kind)).backward()
    assert loss.loss_sum / loss.num_targets == pytest.approx(float(plain.detach()), rel=1e-5)
    trained = {name: p.grad for name, p in learner.network.named_parameters() if p.requires_grad}
    assert found.keys() == trained.keys()
    for name, value in trained.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def test_without_dropout_nothing_diverges(tiny_bert: Path, tmp_path: Path) -> None:
    task = made_run(tiny_bert, tmp_path).task
    logits = torch.randn(4, 3)
    assert float(task.divergence(logits, logits)) == 0.0
    assert float(task.divergence(logits, logits + 1.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(task.divergence(logits, -logits)) > 0.1
