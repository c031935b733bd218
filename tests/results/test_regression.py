"""Regression against scipy and scikit-learn, on the whole and on every resample; constants, ties, missing targets."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from feinschliff.results.formats import LESS_IS_BETTER
from feinschliff.results.regression import (
    DECIDING_METRICS,
    REGRESSION_METRICS,
    per_target,
    regression_figures,
    regression_metrics,
    regression_statistic,
    row_errors,
)


def expected(references: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    return {
        "pearson": stats.pearsonr(references, predictions).statistic,
        "spearman": stats.spearmanr(references, predictions).statistic,
        "r2": metrics.r2_score(references, predictions),
        "rmse": metrics.root_mean_squared_error(references, predictions),
        "mae": metrics.mean_absolute_error(references, predictions),
    }


@pytest.fixture
def one() -> tuple[np.ndarray, np.ndarray]:
    # Ratings with many ties, far from zero; predictions with some ties.
    generator = np.random.default_rng(0)
    references = 1000 + generator.integers(0, 11, 300) / 2
    return references, np.round(1001 + 0.7 * (references - 1000) + generator.normal(0, 1.2, 300), 1)


def test_metrics_equal_scipys_and_scikit_learns(one: tuple[np.ndarray, np.ndarray]) -> None:
    found = regression_metrics(*one, samples=200)
    assert tuple(found) == REGRESSION_METRICS
    assert {name: m.value for name, m in found.items()} == pytest.approx(expected(*one))
    for name, measure in found.items():
        assert measure.low < measure.value < measure.high, name
        assert regression_statistic(name)(*one) == measure.value
    assert set(DECIDING_METRICS) & LESS_IS_BETTER == {"rmse", "mae"}


def test_in_every_resample_too(one: tuple[np.ndarray, np.ndarray]) -> None:
    """Spearman above all: ranks of the whole, kept in the resample, would give other numbers."""
    figures = regression_figures(*one)
    rows = np.random.default_rng(1).integers(0, 300, (20, 300))
    counts = np.stack([np.bincount(drawn, minlength=300) for drawn in rows]).astype(float)
    found = {name: figure(counts) for name, figure in figures.items()}
    for i, drawn in enumerate(rows):
        assert {name: values[i] for name, values in found.items()} == pytest.approx(
            expected(one[0][drawn], one[1][drawn])
        )


numbers = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, allow_subnormal=False, width=32))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=12))
def test_any_numbers(pairs: list[tuple[float, float]]) -> None:
    references, predictions = np.array(pairs).T
    figures = regression_figures(references, predictions)
    once = np.ones((1, len(pairs)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {name: float(figure(once)[0]) for name, figure in figures.items()}
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(references, predictions), rel=1e-9)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(references, predictions), rel=1e-9)
    constant = len(set(references)) == 1 or len(set(predictions)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranked = 0.0 if constant else stats.spearmanr(references, predictions).statistic
    assert found["spearman"] == pytest.approx(ranked, abs=1e-9)
    spreads = [a.std() / max(np.abs(a).max(), 1e-300) for a in (references, predictions)]
    if min(spreads) > 1e-4:
        assert found["pearson"] == pytest.approx(stats.pearsonr(references, predictions).statistic, abs=1e-6)
        assert found["r2"] == pytest.approx(metrics.r2_score(references, predictions), rel=1e-6, abs=1e-6)
    if constant:
        assert found["pearson"] == 0.0


def test_constants_have_defined_values_without_warnings() -> None:
    references = np.random.default_rng(0).normal(size=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A tenth is no binary fraction: its mean over fifty rows differs from it in the last digit.
        found = regression_metrics(references, np.full(50, 0.1), samples=100)
        flat = regression_metrics(np.full(50, 0.1), references, samples=100)
        met = regression_metrics(np.full(50, 0.1), np.full(50, 0.1), samples=100)
        single = regression_metrics(np.array([2.0]), np.array([3.0]), samples=100)
    assert (found["pearson"].value, found["pearson"].low, found["pearson"].high) == (0.0, 0.0, 0.0)
    assert (found["spearman"].value, found["spearman"].high) == (0.0, 0.0)
    assert found["r2"].value <= 0
    assert (flat["r2"].value, flat["pearson"].value, flat["spearman"].value) == (0.0, 0.0, 0.0)
    assert (met["r2"].value, met["rmse"].value) == (1.0, 0.0)
    assert (single["pearson"].value, single["mae"].value, single["r2"].value) == (0.0, 1.0, 0.0)


def test_several_targets_are_averaged_and_missing_ones_left_out() -> None:
    generator = np.random.default_rng(2)
    references = generator.normal(size=(200, 3))
    predictions = references + generator.normal(size=(200, 3)) * [0.2, 1.0, 3.0]
    references[generator.random((200, 3)) < [0.0, 0.3, 0.97]] = np.nan
    references[7] = np.nan
    known = np.isfinite(references)
    by_target = [expected(references[known[:, k], k], predictions[known[:, k], k]) for k in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = regression_metrics(references, predictions, samples=300)
        table = per_target(references, predictions, ["a", "b", "c"], samples=300)
    for name in REGRESSION_METRICS:
        assert found[name].value == pytest.approx(np.mean([target[name] for target in by_target])), name
        assert found[name].low < found[name].value < found[name].high, name
    assert [row.rows for row in table] == known.sum(axis=0).tolist()
    for row, target in zip(table, by_target, strict=True):
        assert {name: m.value for name, m in row.metrics.items()} == pytest.approx(target)
        assert len(row.points) == row.rows


def test_points_of_a_scatter_plot_are_rows_and_at_most_five_hundred() -> None:
    references = np.arange(2000.0)
    points = per_target(references, references + 0.5, ["y"], samples=100)[0].points
    assert len(points) == len(set(points)) == 500
    assert all(given == reference + 0.5 for reference, given in points)
    assert points == per_target(references, references + 0.5, ["y"], samples=100)[0].points


def test_worst_rows_by_error() -> None:
    assert row_errors(np.array([1.0, 2.0, np.nan]), np.array([1.5, 0.0, 0.0])).tolist()[:2] == [0.5, 2.0]
    references = np.array([[0.0, 0.0], [2.0, 200.0], [1.0, np.nan], [np.nan, np.nan]])
    predictions = np.array([[1.0, 0.0], [2.0, 300.0], [1.0, 5.0], [0.0, 0.0]])
    # Standard deviations 0.816 and 100: one unit of the first is more than one hundred of the second.
    errors = row_errors(references, predictions)
    assert errors[:3] == pytest.approx([1 / np.sqrt(2 / 3) / 2, 0.5, 0.0])
    assert np.isnan(errors[3])


@pytest.mark.parametrize(("name", "truth"), [("pearson", 0.6), ("spearman", 6 / np.pi * np.arcsin(0.3))])
def test_intervals_cover_the_truth(name: str, truth: float) -> None:
    """Of two normal numbers with correlation 0.6 Spearman's is 6/pi arcsin(0.3) (Pearson 1907)."""
    generator = np.random.default_rng(3)
    inside = 0
    for seed in range(200):
        references, noise = generator.normal(size=(2, 120))
        found = regression_metrics(references, 0.6 * references + 0.8 * noise, samples=300, seed=seed)[name]
        inside += found.low <= truth <= found.high
    assert 0.90 <= inside / 200 <= 0.99


def test_what_cannot_be_scored_is_refused() -> None:
    y = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="must match"):
        regression_metrics(y, np.array([1.0]))
    with pytest.raises(ValueError, match="predictions finite"):
        regression_metrics(y, np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="at least one reference"):
        regression_metrics(np.array([[1.0, np.nan]]), np.array([[1.0, 2.0]]))
    with pytest.raises(ValueError, match="at least one reference"):
        regression_metrics(np.empty(0), np.empty(0))
