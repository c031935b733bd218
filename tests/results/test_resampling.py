"""Figures and their bootstrap: the same as resampling rows, sound at the border, honest with a handful of units."""

import numpy as np
import pytest

from feinschliff.results.intervals import bootstrap_measure, paired_bootstrap, proportion_interval
from feinschliff.results.measures import Measure
from feinschliff.results.resampling import (
    FunctionOfSums,
    MeanOfFigures,
    MeanOfUnits,
    measure_figures,
    paired_figures,
    value_of,
)


def ratio(units: np.ndarray) -> FunctionOfSums:
    return FunctionOfSums(units, lambda sums: sums[:, 0] / sums[:, 1])


@pytest.fixture
def units() -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.stack([generator.exponential(2.0, 300), generator.uniform(1, 3, 300)], axis=1)


def test_drawing_counts_is_drawing_rows(units: np.ndarray) -> None:
    found = measure_figures({"ratio": ratio(units)}, samples=3000)["ratio"]
    rows = bootstrap_measure(lambda u: u[:, 0].sum() / u[:, 1].sum(), units, samples=3000, seed=5)
    assert found.value == pytest.approx(rows.value)
    assert (found.low, found.high) == pytest.approx((rows.low, rows.high), abs=0.01)
    assert found == measure_figures({"ratio": ratio(units)}, samples=3000)["ratio"]
    assert found != measure_figures({"ratio": ratio(units)}, samples=3000, seed=1)["ratio"]


def test_the_size_of_a_chunk_is_no_matter_of_the_result(units: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure_figures({"ratio": ratio(units)}, samples=150)["ratio"]
    monkeypatch.setattr("feinschliff.results.resampling._MAX_DRAWN_CELLS", 700)
    found = measure_figures({"ratio": ratio(units)}, samples=150)["ratio"]
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), rel=1e-12)


def test_pairs_of_figures_agree_with_pairs_of_rows() -> None:
    generator = np.random.default_rng(1)
    references = generator.normal(size=400)
    ours, theirs = references + generator.normal(0, 1.0, 400), references + generator.normal(0, 1.15, 400)

    def closeness(truth: np.ndarray, given: np.ndarray) -> float:
        return float(-np.mean(np.abs(truth - given)))

    rows = paired_bootstrap(closeness, references, ours, theirs)
    found = paired_figures(*(MeanOfUnits(-np.abs(references - given)) for given in (ours, theirs)))
    assert found.value == pytest.approx(rows.value)
    assert (found.low, found.high, found.p) == pytest.approx((rows.low, rows.high, rows.p), abs=0.015)
    swapped = paired_figures(*(MeanOfUnits(-np.abs(references - given)) for given in (theirs, ours)))
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_intervals_cover_the_truth() -> None:
    generator = np.random.default_rng(11)
    inside = 0
    for trial in range(300):
        drawn = np.stack([generator.exponential(2.0, 100), generator.uniform(1, 3, 100)], axis=1)
        found = measure_figures({"ratio": ratio(drawn)}, samples=400, seed=trial)["ratio"]
        inside += found.low <= 1.0 <= found.high
    # Three standard errors of a share near 0.95 in 300 trials are 0.038; skew costs percentiles a little.
    assert 0.90 <= inside / 300 <= 0.985


def test_of_equal_candidates_one_in_twenty_at_most_looks_different() -> None:
    generator = np.random.default_rng(12)
    rejected = 0
    for _ in range(300):
        ours, theirs = generator.beta(2, 1, (2, 80))
        rejected += paired_figures(MeanOfUnits(ours), MeanOfUnits(theirs), samples=400).p < 0.05
    assert rejected / 300 < 0.05 + 0.038


def test_a_share_takes_wilsons_interval() -> None:
    found = measure_figures({"right": MeanOfUnits(np.repeat([1.0, 0.0], [81, 182]))})["right"]
    assert found == proportion_interval(81, 263)
    assert not MeanOfUnits(np.array([1.0, 0.5])).is_share


def test_at_the_border_a_bootstrap_is_not_certain() -> None:
    perfect = FunctionOfSums(np.ones((20, 2)), lambda sums: sums[:, 0] / sums[:, 1])
    nothing = FunctionOfSums(np.stack([np.zeros(20), np.ones(20)], axis=1), lambda sums: sums[:, 0] / sums[:, 1])
    figures = {"perfect": perfect, "nothing": nothing}
    found = measure_figures(figures, samples=100, border_units=20)
    assert found == {"perfect": proportion_interval(20, 20), "nothing": proportion_interval(0, 20)}
    assert measure_figures(figures, samples=100)["perfect"] == Measure(value=1.0, low=1.0, high=1.0)


def test_a_handful_of_units_proves_nothing() -> None:
    better, other = (MeanOfUnits(np.array(units)) for units in ([0.9, 0.8, 0.9], [0.1, 0.2, 0.2]))
    found = paired_figures(better, other)
    assert found.low > 0
    assert found.p == 0.25


def test_the_mean_over_figures_leaves_out_what_is_not_known() -> None:
    mean = MeanOfFigures((MeanOfUnits(np.array([1.0, 3.0])), FunctionOfSums(np.eye(2), lambda s: s[:, 1] / s[:, 1])))
    with np.errstate(invalid="ignore"):
        assert mean(np.array([[1.0, 1.0], [2.0, 0.0]])).tolist() == [1.5, 1.0]
    assert value_of(mean) == 1.5


def test_figures_of_different_units_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of units"):
        paired_figures(MeanOfUnits(np.ones(3)), MeanOfUnits(np.ones(4)))
    with pytest.raises(ValueError, match="at least one"):
        measure_figures({"mean": MeanOfUnits(np.ones(0))})
