"""Intervals and paired tests against numbers from the papers, and by simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest

from feinschliff.results.intervals import (
    bootstrap_measure,
    expected_calibration_error,
    mcnemar_mid_p,
    paired_bootstrap,
    paired_difference_of_proportions,
    proportion_interval,
    rare_strata,
    rows_needed,
    rows_needed_from_interval,
)
from feinschliff.results.measures import Difference


def pairs(both: int, only_ours: int, only_theirs: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    ours = np.repeat([True, True, False, False], [both, only_ours, only_theirs, neither])
    theirs = np.repeat([True, False, True, False], [both, only_ours, only_theirs, neither])
    return ours, theirs


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3 (Wilson).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    measure = proportion_interval(successes, n)
    assert (round(measure.low, 4), round(measure.high, 4)) == (low, high)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 7), (3, 7), (7, 7), (942, 1000)])
def test_wilson_agrees_with_scipy(successes: int, n: int, confidence: float) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    measure = proportion_interval(successes, n, confidence)
    assert (measure.low, measure.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_of_no_rows_nothing_is_known() -> None:
    assert proportion_interval(0, 0).model_dump() == {"value": 0.0, "low": 0.0, "high": 1.0}
    with pytest.raises(ValueError, match="not within 0 to n"):
        proportion_interval(3, 2)


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    # Newcombe 1998, "Improved confidence intervals ... paired data", table II, method 10.
    [((36, 12, 2, 0), 0.0569, 0.3404), ((20, 12, 2, 16), 0.0562, 0.3292)],
)
def test_paired_interval_gives_newcombes_published_numbers(
    cells: tuple[int, int, int, int], low: float, high: float
) -> None:
    difference = paired_difference_of_proportions(*pairs(*cells))
    assert (round(difference.low, 4), round(difference.high, 4)) == (low, high)


def test_paired_difference_turns_its_sign_when_the_sides_are_swapped() -> None:
    ours, theirs = pairs(700, 40, 20, 100)
    one, other = paired_difference_of_proportions(ours, theirs), paired_difference_of_proportions(theirs, ours)
    assert one.value == pytest.approx(20 / 860)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.p == other.p


def test_mid_p_gives_the_published_number_and_agrees_with_its_definition() -> None:
    # Bentur et al. 2009 in Fagerland, Lydersen and Laake 2013, table 4: exact conditional 0.070, mid-p 0.039.
    assert round(mcnemar_mid_p(1, 7), 3) == 0.039
    exact = binomtest(3, 12, 0.5).pvalue
    assert mcnemar_mid_p(3, 9) == pytest.approx(exact - 220 / 4096)  # 220 = 12 choose 3
    assert mcnemar_mid_p(0, 0) == 1.0 == mcnemar_mid_p(5, 5)


@pytest.mark.parametrize(("rows", "both", "one_side"), [(80, 0.85, 0.06), (500, 0.9, 0.03)])
def test_paired_interval_covers_the_truth_and_the_test_holds_its_level(rows: int, both: float, one_side: float) -> None:
    generator = np.random.default_rng(5)
    covered = rejected = 0
    trials = 600
    for _ in range(trials):
        kind = generator.choice(4, size=rows, p=[both, one_side, one_side, 1 - both - 2 * one_side])
        difference = paired_difference_of_proportions(kind < 2, (kind == 0) | (kind == 2))
        covered += difference.low <= 0 <= difference.high
        rejected += difference.p < 0.05
    # Three standard errors of a share near 0.95 in 600 trials are 0.027.
    assert covered / trials > 0.95 - 0.027
    assert rejected / trials < 0.05 + 0.027


def test_bootstrap_of_a_mean_is_as_wide_as_theory_says_and_repeats() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    measure = bootstrap_measure(np.mean, values, samples=3000, seed=7)
    half = 1.96 * values.std() / 20
    assert measure.value == pytest.approx(values.mean())
    assert (measure.low, measure.high) == pytest.approx((measure.value - half, measure.value + half), abs=0.02)
    assert measure == bootstrap_measure(np.mean, values, samples=3000, seed=7)
    assert measure != bootstrap_measure(np.mean, values, samples=3000, seed=8)


def test_bootstrap_covers_the_truth() -> None:
    generator = np.random.default_rng(11)
    inside = 0
    for trial in range(200):
        measure = bootstrap_measure(np.mean, generator.exponential(1.0, size=80), samples=300, seed=trial)
        inside += measure.low <= 1.0 <= measure.high
    assert 0.88 <= inside / 200 <= 0.985


def test_strata_keep_every_class_in_every_resample() -> None:
    classes = np.array([3] * 2 + [0] * 98)
    shuffled = np.random.default_rng(0).permutation(classes)
    assert rare_strata(shuffled) is shuffled
    assert rare_strata(np.array([0, 1] * 10)) is None
    share = bootstrap_measure(lambda c: float(np.mean(c == 3)), shuffled, samples=200, strata=shuffled)
    assert (share.low, share.high) == (0.02, 0.02)
    assert bootstrap_measure(lambda c: float(np.mean(c == 3)), shuffled, samples=200).low < 0.02


def test_paired_bootstrap_agrees_with_newcombe_on_accuracy() -> None:
    ours, theirs = pairs(850, 60, 30, 60)
    references = np.ones(1000, dtype=int)

    def accuracy(truth: np.ndarray, predictions: np.ndarray) -> float:
        return float(np.mean(truth == predictions))

    drawn = paired_bootstrap(accuracy, references, ours.astype(int), theirs.astype(int))
    formula = paired_difference_of_proportions(ours, theirs)
    assert drawn.value == pytest.approx(formula.value)
    assert (drawn.low, drawn.high) == pytest.approx((formula.low, formula.high), abs=0.003)
    assert 0 < drawn.p < 0.01
    same = paired_bootstrap(accuracy, references, ours.astype(int), ours.astype(int), samples=100)
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of rows"):
        paired_difference_of_proportions(np.array([True]), np.array([True, False]))
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_measure(np.mean, np.array([]))


def test_rows_needed_by_hand() -> None:
    # (1.960 * sqrt(0.3) + 0.842 * sqrt(0.3 - 0.01))^2 / 0.01 = (1.0735 + 0.4532)^2 / 0.01 = 233.1
    assert rows_needed(0.2, 0.1) == 234
    assert rows_needed(0.1, 0.1) is None
    assert rows_needed(0.1, 0.2) == rows_needed(0.2, 0.1)


def test_with_the_rows_needed_four_runs_in_five_see_the_difference() -> None:
    rows = rows_needed(0.06, 0.03)
    assert rows is not None
    generator = np.random.default_rng(2)
    cells = generator.multinomial(rows, [0.06, 0.03, 0.91], size=1500)
    power = np.mean([mcnemar_mid_p(int(b), int(c)) < 0.05 for b, c, _ in cells])
    assert 0.76 <= power <= 0.85


def test_rows_needed_from_an_interval_agrees_with_the_formula() -> None:
    ours, theirs = pairs(850, 60, 40, 50)
    difference = paired_difference_of_proportions(ours, theirs)
    formula = rows_needed(0.06, 0.04)
    assert formula is not None
    assert rows_needed_from_interval(difference, 1000) == pytest.approx(formula, rel=0.1)
    assert rows_needed_from_interval(Difference(value=0, low=-1, high=1, p=1), 10) is None
    assert rows_needed_from_interval(Difference(value=0.1, low=0.1, high=0.1, p=0.01), 10) == 10


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0, 0.0])
    right = np.array([True, True, True, False, True, False, True, False])
    calibration = expected_calibration_error(confidence, right, num_bins=10)
    # (0.9, 1]: five rows, mean 0.96, 0.8 right; (0.5, 0.6]: two rows, 0.55 against 0.5; [0, 0.1]: 0 against 0.
    assert calibration.ece == pytest.approx((5 * 0.16 + 2 * 0.05) / 8)
    assert [(b.low, b.high, b.count) for b in calibration.bins] == [(0.0, 0.1, 1), (0.5, 0.6, 2), (0.9, 1.0, 5)]


def test_a_calibrated_model_has_almost_no_error() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.2, 1.0, size=100_000)
    assert expected_calibration_error(confidence, generator.random(100_000) < confidence).ece < 0.01
