"""Which recipe is trained on all rows after trials on few."""

from __future__ import annotations

import pytest

from feinschliff.errors import DivergedError
from feinschliff.lifecycle.recipes import candidates
from feinschliff.lifecycle.trials import _best, _most_able
from feinschliff.results.comparison import CandidateTrial

NAMES = [recipe.name for recipe in candidates(6)]


def trials_of(*scores: float | None) -> list[CandidateTrial]:
    return [
        CandidateTrial(recipe=name, validation_metric=score, seconds=1.0)
        for name, score in zip(NAMES, scores, strict=True)
    ]


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ((0.70, 0.72, 0.80, 0.79), "full, strong"),  # within sqrt(.8 * .2 / 1000) = 0.0126 of the best
        ((0.70, 0.72, 0.80, 0.78), "full, gentle"),
        ((0.80, 0.72, 0.79, 0.795), "last 2 layers"),  # what ties costs three times as much
        ((0.70, 0.80, 0.79, 0.75), "full, gentle"),
        ((0.70, 0.72, 0.80, None), "full, gentle"),
        ((1.0, 0.9, 0.9, 0.9), "last 2 layers"),
    ],
)
def test_of_equals_that_cost_no_more_the_one_that_leaves_the_base_farthest(
    scores: tuple[float | None, ...], chosen: str
) -> None:
    assert _most_able(candidates(6), trials_of(*scores), 1000).name == chosen


def test_more_validation_rows_tell_closer_recipes_apart() -> None:
    trials = trials_of(0.70, 0.72, 0.80, 0.79)
    assert _most_able(candidates(6), trials, 100).name == "full, strong"
    assert _most_able(candidates(6), trials, 10_000).name == "full, gentle"
    assert _best(candidates(6), trials).name == "full, gentle"


def test_all_diverged() -> None:
    with pytest.raises(DivergedError, match="every recipe"):
        _most_able(candidates(6), trials_of(None, None, None, None), 100)
