"""The running average of the weights: its formula, that it is what is scored and kept, and that it survives a stop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from feinschliff.engine import loop
from feinschliff.engine.averaging import AveragedWeights
from feinschliff.engine.events import StepEnded
from feinschliff.engine.precision import MasterWeights
from tests.numerics.tiny_runs import largest_difference, made_fit, made_run, weights_of


def averages(width: float, at: list[int], values: Tensor) -> float:
    """The average after updates at the given steps, the weight being ``values[step]``."""
    network = nn.Linear(1, 1, bias=False)
    masters = MasterWeights(network, network, torch.float32)
    average, last = AveragedWeights(masters, width), 0
    for step in at:
        masters.load({"weight": values[step].view(1, 1)})
        average.update(step, last)
        last = step
    return float(average.named()["weight"])


@pytest.mark.parametrize("width", [0.1, 0.25, 0.5])
def test_updated_at_each_step_it_is_the_power_function_average(width: float) -> None:
    """Karras et al. 2024, equation 1: step t counts in proportion to ``t ** gamma`` with gamma = 1 / width - 1."""
    values = torch.randn(2001, generator=torch.Generator().manual_seed(0)).cumsum(0)
    counts = torch.arange(0, 2001, dtype=torch.float64) ** (1 / width - 1)
    expected = float((counts * values).sum() / counts.sum())
    spread = float(values[-500:].std())
    assert averages(width, list(range(1, 2001)), values) == pytest.approx(expected, abs=0.02 * spread)


def test_updates_are_rare_and_change_little() -> None:
    values = torch.linspace(0.0, 1.0, 1601) ** 0.5
    every, rare = averages(0.2, list(range(1, 1601)), values), averages(0.2, list(range(8, 1601, 8)), values)
    assert rare == pytest.approx(every, abs=2e-3)
    assert 0.8 < every < 1.0


@pytest.mark.parametrize("num_steps", [12, 30, 100, 1000])
def test_short_runs_are_averaged_too(num_steps: int) -> None:
    """Updated whenever it is due, the average stands near the one of every step, however short the run."""
    network = nn.Linear(1, 1, bias=False)
    average, due, last = AveragedWeights(MasterWeights(network, network, torch.float32), 0.25), [], 0
    for step in range(1, num_steps + 1):
        if average.due(step, last) or step == num_steps:
            due.append(step)
            last = step
    values = torch.linspace(0.0, 1.0, num_steps + 1)
    every = averages(0.25, list(range(1, num_steps + 1)), values)
    assert averages(0.25, due, values) == pytest.approx(every, abs=0.04)
    assert 0.75 < every < 0.9
    assert len(due) <= max(num_steps, num_steps / 8 + 32)


def test_the_average_is_scored_and_kept_and_training_goes_on_from_the_weights(tiny_bert: Path, tmp_path: Path) -> None:
    fit = made_fit(made_run(tiny_bert, tmp_path / "a", weight_averaging=0.3, keep_weights="last"), tmp_path / "a")
    scored = []
    validate = fit.validate

    def spying() -> tuple[float, float]:
        scored.append(weights_of(fit))
        return validate()

    fit.validate = spying
    list(loop.fit(fit))
    plain = made_fit(made_run(tiny_bert, tmp_path / "b", weight_averaging=0.0, schedule="constant"), tmp_path / "b")
    list(loop.fit(plain))
    assert largest_difference(weights_of(fit), weights_of(plain)) == 0.0
    kept = load_file(loop.best_file(fit))
    assert largest_difference(kept, scored[-1]) == 0.0
    assert 0.0 < largest_difference(kept, weights_of(fit)) < 0.1
    assert fit.learner.average is not None
    assert largest_difference(kept, fit.learner.average.named()) == 0.0


@pytest.mark.parametrize("width", [0.0, 0.3])
def test_a_share_of_the_weights_before_training_is_kept(tiny_bert: Path, tmp_path: Path, width: float) -> None:
    kept = {}
    for share in (0.0, 0.25):
        path = tmp_path / str(share)
        changes = {"weight_averaging": width, "base_weights_share": share, "keep_weights": "last"}
        fit = made_fit(made_run(tiny_bert, path, **changes), path)
        before = {name: value.clone() for name, value in weights_of(fit).items()}
        list(loop.fit(fit))
        kept[share] = load_file(loop.best_file(fit))
    for name, value in kept[0.25].items():
        torch.testing.assert_close(value, 0.75 * kept[0.0][name] + 0.25 * before[name], rtol=1e-5, atol=1e-7)
    assert largest_difference(kept[0.25], kept[0.0]) > 0.0


def test_the_last_weights_are_kept_where_they_are_asked_for(tiny_bert: Path, tmp_path: Path) -> None:
    for keep, step in (("best", 6), ("last", 12)):
        path = tmp_path / keep
        fit = made_fit(made_run(tiny_bert, path, keep_weights=keep, weight_averaging=0.0), path)
        metrics = iter([0.9, 0.2])
        fit.validate = lambda metrics=metrics: (0.5, next(metrics))  # type: ignore[misc]
        best = [event.best for event in loop.fit(fit) if not isinstance(event, StepEnded) and hasattr(event, "best")]
        assert best == [True, False]
        assert fit.state.best_step == step
        same = largest_difference(load_file(loop.best_file(fit)), weights_of(fit)) == 0.0
        assert same == (keep == "last")
