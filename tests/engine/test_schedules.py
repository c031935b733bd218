"""Learning-rate factors: golden values."""

from __future__ import annotations

import pytest

from feinschliff.engine.schedules import Schedule, factor

GOLDEN: dict[Schedule, list[float]] = {
    "linear": [1 / 3, 2 / 3, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125],
    "cosine": [1 / 3, 2 / 3, 1.0, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060],
    "constant": [1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize("schedule", list(GOLDEN))
def test_golden(schedule: Schedule) -> None:
    found = [factor(step, 10, 0.2, schedule) for step in range(10)]
    assert found == pytest.approx(GOLDEN[schedule], abs=1e-6)


def test_without_warmup_the_first_step_has_the_peak_rate() -> None:
    assert factor(0, 4, 0.0, "linear") == 1.0
    assert factor(0, 1, 0.0, "cosine") == 1.0


def test_warmup_over_the_whole_run_only_rises() -> None:
    rates = [factor(step, 5, 1.0, "linear") for step in range(5)]
    assert rates == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])


def test_the_last_step_still_learns() -> None:
    assert factor(99, 100, 0.1, "linear") > 0
    assert factor(99, 100, 0.1, "cosine") > 0
