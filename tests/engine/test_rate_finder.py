"""The learning-rate sweep: plain steps at growing rates, no trace left, and its curve read rightly."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from feinschliff.engine import rate_finder
from feinschliff.engine.rate_finder import SweepPoint, read, sweep
from feinschliff.engine.seeds import seed_step
from feinschliff.engine.step import train_step
from feinschliff.lifecycle.finish import weights_hash
from tests.numerics.tiny_runs import made_run


def curve(losses: list[float]) -> list[SweepPoint]:
    return [SweepPoint(10.0 ** (-6 + step / 4), loss, loss) for step, loss in enumerate(losses)]


def test_each_step_is_a_plain_step_at_its_rate(tiny_bert: Path, tmp_path: Path) -> None:
    points = sweep(made_run(tiny_bert, tmp_path / "a").learner, 3, steps=8, low=1e-5, high=1e-2)
    learner = made_run(tiny_bert, tmp_path / "b").learner
    learner.network.train()
    losses = []
    for step in range(8):
        learner.optimizer.learning_rate = 1e-5 * 10 ** (3 * step / 7)
        seed_step(3, step)
        out = train_step(learner, learner.order(3, step // 6)[step % 6 * 8 : step % 6 * 8 + 8], 1.0)
        losses.append(out.loss_sum / out.num_targets)
    assert [point.loss for point in points] == losses
    assert [point.rate for point in points] == pytest.approx([1e-5 * 10 ** (3 * step / 7) for step in range(8)])
    weights = [rate_finder.MEMORY ** (7 - step) for step in range(8)]
    mean = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert points[-1].smoothed == pytest.approx(mean)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_leaves_no_trace_and_is_the_same_again(tiny_bert: Path, tmp_path: Path, precision: str) -> None:
    learner = made_run(tiny_bert, tmp_path, precision=precision, model={"dropout": 0.2}).learner
    train_step(learner, learner.order(0, 0)[:8], 1.0)
    before = [weights_hash(learner.masters.named()), weights_hash(learner.optimizer.state())]
    working = [parameter.detach().clone() for parameter in learner.masters.working]
    first = sweep(learner, 0, steps=12)
    assert [weights_hash(learner.masters.named()), weights_hash(learner.optimizer.state())] == before
    assert all(bool((a == b).all()) for a, b in zip(working, learner.masters.working, strict=True))
    assert learner.optimizer.learning_rate == 1e-3
    assert all(master.grad is None for master in learner.masters.masters)
    learner.optimizer.forget()
    fresh = sweep(learner, 0, steps=12)
    assert fresh == sweep(learner, 0, steps=12)
    assert [point.rate for point in fresh] == [point.rate for point in first]


def test_it_ends_where_the_loss_diverges(tiny_bert: Path, tmp_path: Path) -> None:
    learner = made_run(tiny_bert, tmp_path, max_grad_norm=None).learner
    points = sweep(learner, 0, steps=200, low=1e-4, high=1e3)
    assert 2 < len(points) < 200
    assert all(math.isfinite(point.smoothed) for point in points)


def test_a_curve_is_read_at_its_steepest_fall_and_its_lowest_point() -> None:
    losses = [2.0] * 8 + [1.9, 1.7, 1.3, 0.8, 0.5, 0.4, 0.6, 2.5, 9.0]
    reading = read(curve(losses))
    assert reading.lowest == pytest.approx(10.0 ** (-6 + 13 / 4))
    assert reading.suggestion == pytest.approx(10.0 ** (-7 + 13 / 4))
    assert reading.steepest == pytest.approx(10.0 ** (-6 + 10 / 4))


def test_noise_of_the_first_batches_is_not_taken_for_a_slope() -> None:
    losses = [2.5, 1.2, 1.1] + [1.9] * 12 + [1.9 - 0.1 * step for step in range(8)] + [2.0, 5.0]
    reading = read(curve(losses))
    assert reading.lowest == pytest.approx(10.0 ** (-6 + 22 / 4))
    assert 10.0 ** (-6 + 15 / 4) <= (reading.steepest or 0.0) <= (reading.lowest or 0.0)


@pytest.mark.parametrize("losses", [[], [1.0, 0.5], [1.0 + 0.1 * step for step in range(30)]])
def test_a_curve_that_never_falls_says_nothing(losses: list[float]) -> None:
    assert read(curve(losses)).suggestion is None
