"""Which recipe is trained on all rows after trials on few."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Example, Place, Splits
from feinschliff.errors import DivergedError
from feinschliff.lifecycle.recipes import candidates
from feinschliff.lifecycle.train import RunContext
from feinschliff.lifecycle.trials import FEWEST_ROWS, Search, _best, _most_able, _rows_of_trials, forecast
from feinschliff.models.sources import ResolvedModel
from feinschliff.results.comparison import CandidateTrial
from feinschliff.results.data import ColumnsFound
from feinschliff.store.run_directory import RunDirectory

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
    assert _most_able(candidates(6), trials_of(*scores), "accuracy", 1000).name == chosen


def test_more_validation_rows_tell_closer_recipes_apart() -> None:
    trials = trials_of(0.70, 0.72, 0.80, 0.79)
    assert _most_able(candidates(6), trials, "accuracy", 100).name == "full, strong"
    assert _most_able(candidates(6), trials, "accuracy", 10_000).name == "full, gentle"
    assert _best(candidates(6), trials, "accuracy").name == "full, gentle"


def test_all_diverged() -> None:
    with pytest.raises(DivergedError, match="every recipe"):
        _most_able(candidates(6), trials_of(None, None, None, None), "accuracy", 100)


def search_of(tmp_path: Path, num_rows: int, seconds_left: float) -> Search:
    rows = [Example((f"text {row}",), ("a",), Place("rows.csv", row)) for row in range(num_rows)]
    splits = Splits(rows, [], [], ColumnsFound(text=["text"], target="label"), ["a"])
    model = ResolvedModel(tmp_path, "m", "folder", None, None, "")
    return Search(RunConfig(), set(), splits, model, RunContext(RunDirectory(tmp_path)), 0.01, seconds_left, "accuracy")


def test_forecast_of_recipes_that_fit_is_what_they_cost_and_else_the_budget(tmp_path: Path) -> None:
    recipes = candidates(6)
    whole = sum(recipe.forwards for recipe in recipes) * 100 * 0.01
    assert forecast(search_of(tmp_path, 100, 600.0), recipes, 2.0) == pytest.approx(whole + 8.0)
    assert forecast(search_of(tmp_path, 100, 50.0), recipes, 2.0) == 50.0
    (only,) = recipes[:1]
    assert forecast(search_of(tmp_path, 100, 600.0), [only], 2.0) == pytest.approx(only.forwards + 2.0)


def test_a_second_start_compares_on_the_rows_of_the_first(tmp_path: Path) -> None:
    recipes = candidates(6)
    first = _rows_of_trials(search_of(tmp_path, 2000, 300.0), recipes)
    assert first is not None
    assert FEWEST_ROWS < first < 2000
    assert _rows_of_trials(search_of(tmp_path, 2000, 400.0), recipes) == first
    assert _rows_of_trials(search_of(tmp_path, 2000, 1e6), recipes) == first
    assert _rows_of_trials(search_of(tmp_path, 1999, 1e6), recipes) is None  # other rows
    assert _rows_of_trials(search_of(tmp_path, 1999, 1.0), recipes) is None


def test_forecast_says_that_a_budget_is_too_short(tmp_path: Path) -> None:
    recipes = candidates(6)
    assert forecast(search_of(tmp_path, 10_000, 20.0), recipes, 0.0) == pytest.approx(3.5 * 100)
