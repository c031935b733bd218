"""Adversarial steps: the gradient is that of both passes written out by hand, and nothing stays moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from feinschliff.engine.step import Learner, backward, train_step
from tests.numerics.tiny_runs import made_run

ROWS = np.arange(8)


def gradients_of(learner: Learner) -> dict[str, torch.Tensor]:
    """Copies by name."""
    pairs = zip(learner.masters.names, learner.masters.masters, strict=True)
    return {name: master.grad.clone() for name, master in pairs if master.grad is not None}


def gradients_by_hand(folder: Path, path: Path, epsilon: float) -> dict[str, torch.Tensor]:
    """Plain pass, embeddings moved by hand, second pass, averaged."""
    learner = made_run(folder, path, max_grad_norm=None).learner
    backward(learner, ROWS)
    first = gradients_of(learner)
    name = next(name for name in first if name.endswith("word_embeddings.weight"))
    with torch.no_grad():
        learner.masters.named()[name].add_(epsilon * first[name] / first[name].norm())
    learner.masters.discard_gradients()
    backward(learner, ROWS)
    second = gradients_of(learner)
    return {name: (first[name] + second[name]) / (2 * len(ROWS)) for name in first}


def test_the_step_learns_from_both_passes(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = gradients_by_hand(tiny_bert, tmp_path / "a", 0.5)
    learner = made_run(tiny_bert, tmp_path / "b", max_grad_norm=None, adversarial_epsilon=0.5).learner
    before = {name: value.clone() for name, value in learner.masters.named().items()}
    found: dict[str, torch.Tensor] = {}

    def look(factor: float) -> None:
        found.update(gradients_of(learner))

    monkeypatch.setattr(learner.optimizer, "step", look)
    train_step(learner, ROWS, 1.0)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7)
    assert all(torch.equal(value, before[name]) for name, value in learner.masters.named().items())


def test_the_embeddings_come_back_in_bf16_too(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = made_run(tiny_bert, tmp_path, precision="bf16", adversarial_epsilon=5.0).learner
    before = [parameter.detach().clone() for parameter in learner.masters.working]
    monkeypatch.setattr(learner.optimizer, "step", lambda factor: None)
    loss = train_step(learner, ROWS, 1.0)
    assert loss.num_targets == len(ROWS)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.masters.working, strict=True))


def test_the_forecast_counts_both_passes(tiny_bert: Path, tmp_path: Path) -> None:
    assert made_run(tiny_bert, tmp_path / "a").learner.passes == 1
    assert made_run(tiny_bert, tmp_path / "b", adversarial_epsilon=0.5).learner.passes == 2
