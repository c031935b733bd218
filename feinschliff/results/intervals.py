"""Intervals and paired tests on arrays: how sure a figure is, and how sure a difference is.

Knows right and wrong, references and predictions; no metric by name, no class names, no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from feinschliff.results.evaluation import Calibration, CalibrationBin
from feinschliff.results.measures import Difference, Measure

Array = NDArray[Any]
BoolArray = NDArray[np.bool_]
Statistic = Callable[..., float]

RARE_CLASS_ROWS = 10
"""A class with fewer rows could be missing from a resample (probability e^-10 at this size); then resample by class."""


def proportion_interval(successes: int, n: int, confidence: float = 0.95) -> Measure:
    """A share of rows with its score interval (Wilson 1927), which stays sound near 0 and 1 and for small ``n``.

    Of no rows nothing is known: value 0 (the convention of zero division), interval 0 to 1.

    Raises:
        ValueError: ``successes`` is not within 0 to ``n``.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes = {successes} is not within 0 to n = {n}")
    if n == 0:
        return Measure(value=0.0, low=0.0, high=1.0)
    z = _z(confidence)
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the borders the exact bounds are 0 and 1; rounding must not leave a bound just inside the value.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return Measure(value=share, low=low, high=high)


def bootstrap_measure(
    statistic: Statistic,
    *arrays: Array,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    strata: Array | None = None,
) -> Measure:
    """Any statistic of rows with its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Args:
        statistic: takes the arrays, with rows resampled together, and gives one figure.
        arrays: each ``[N, ...]``, one entry a row.
        strata: ``[N]``; where given, every stratum keeps its number of rows in each resample, so no class vanishes.

    Raises:
        ValueError: no rows, or arrays of different lengths.
    """
    rows = _rows(*arrays)
    draws = np.array([statistic(*(a[i] for a in arrays)) for i in _resamples(rows, samples, seed, strata)])
    low, high = percentile_bounds(draws, confidence)
    return Measure(value=float(statistic(*arrays)), low=low, high=high)


def paired_difference_of_proportions(
    ours_right: BoolArray, theirs_right: BoolArray, confidence: float = 0.95
) -> Difference:
    """Share of rows we get right minus the share they get right, on the same rows.

    Interval: square-and-add on Wilson intervals with the correlation of the pairs, method 10 of Newcombe (1998),
    Statistics in Medicine 17, 2635-2650. p: McNemar's test in its mid-p form, two-sided (Fagerland, Lydersen and
    Laake 2013), which holds its level without the exact test's loss of power.

    Args:
        ours_right: ``[N]``, whether our prediction of the row was right.
        theirs_right: ``[N]``, the same of the other candidate.

    Raises:
        ValueError: no rows, or arrays of different lengths.
    """
    rows = _rows(ours_right, theirs_right)
    both = int(np.sum(ours_right & theirs_right))
    only_ours = int(np.sum(ours_right & ~theirs_right))
    only_theirs = int(np.sum(theirs_right & ~ours_right))
    low, high = _newcombe(both, only_ours, only_theirs, rows, confidence)
    return Difference(
        value=(only_ours - only_theirs) / rows, low=low, high=high, p=mcnemar_mid_p(only_ours, only_theirs)
    )


def mcnemar_mid_p(only_ours: int, only_theirs: int) -> float:
    """Two-sided mid-p of McNemar's test: the exact binomial test minus half the probability of what was seen."""
    discordant = only_ours + only_theirs
    if only_ours == only_theirs:
        return 1.0
    fewer = min(only_ours, only_theirs)
    return float(min(1.0, 2 * binom.cdf(fewer, discordant, 0.5) - binom.pmf(fewer, discordant, 0.5)))


def paired_bootstrap(
    statistic: Statistic,
    references: Array,
    ours: Array,
    theirs: Array,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    strata: Array | None = None,
) -> Difference:
    """``statistic(references, ours) - statistic(references, theirs)`` on the same resampled rows.

    Interval: percentiles (Efron and Tibshirani 1993; for paired systems Koehn 2004). p: the interval inverted, twice
    the smaller share of resamples on either side of zero, with one added to both counts, so that it is never 0.

    Args:
        references, ours, theirs: ``[N]`` or ``[N, C]``, one entry a row.
        strata: see :func:`bootstrap_measure`.

    Raises:
        ValueError: no rows, or arrays of different lengths.
    """
    rows = _rows(references, ours, theirs)
    draws = np.array(
        [
            statistic(references[i], ours[i]) - statistic(references[i], theirs[i])
            for i in _resamples(rows, samples, seed, strata)
        ]
    )
    return difference_of_draws(statistic(references, ours) - statistic(references, theirs), draws, confidence)


def difference_of_draws(value: float, draws: NDArray[np.float64], confidence: float = 0.95) -> Difference:
    """A difference with the interval and p of its paired bootstrap draws ``[samples]``."""
    low, high = percentile_bounds(draws, confidence)
    tail = min(int(np.sum(draws <= 0)), int(np.sum(draws >= 0)))
    return Difference(value=float(value), low=low, high=high, p=min(1.0, 2 * (tail + 1) / (len(draws) + 1)))


def rows_needed(
    only_ours_fraction: float, only_theirs_fraction: float, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """How many rows McNemar's test needs to see a difference like this one; None where there is no difference.

    Formula of Miettinen (1968) as in Connor (1987), Biometrics 43, 207-211.

    Args:
        only_ours_fraction: share of rows that we alone get right.
        only_theirs_fraction: share of rows that they alone get right.
    """
    difference = only_ours_fraction - only_theirs_fraction
    discordant = only_ours_fraction + only_theirs_fraction
    if difference == 0:
        return None
    spread = math.sqrt(max(0.0, discordant - difference**2))
    root = _z(confidence) * math.sqrt(discordant) + float(norm.ppf(power)) * spread
    return math.ceil(root**2 / difference**2)


def rows_needed_from_interval(
    difference: Difference, rows: int, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """The same for any metric: the interval shrinks with the root of the rows. None where there is no difference."""
    if difference.value == 0:
        return None
    standard_error = (difference.high - difference.low) / (2 * _z(confidence))
    if standard_error == 0:
        return rows
    ratio = (_z(confidence) + float(norm.ppf(power))) * standard_error / difference.value
    return math.ceil(rows * ratio**2)


def expected_calibration_error(confidence: Array, right: BoolArray, num_bins: int = 15) -> Calibration:
    """How far predicted probabilities are from the share that was right (Guo et al. 2017, equation 3).

    Args:
        confidence: ``[N]``, the probability of the predicted class, 0 to 1.
        right: ``[N]``, whether that class was right.

    Returns:
        The error and the bins ``(low, high]`` of equal width that hold rows.

    Raises:
        ValueError: no rows, or arrays of different lengths.
    """
    rows = _rows(confidence, right)
    bin_of = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    counts = np.bincount(bin_of, minlength=num_bins)
    filled = np.flatnonzero(counts)
    mean_confidence = np.bincount(bin_of, weights=confidence, minlength=num_bins)[filled] / counts[filled]
    accuracy = np.bincount(bin_of, weights=right, minlength=num_bins)[filled] / counts[filled]
    error = float(np.sum(counts[filled] * np.abs(accuracy - mean_confidence)) / rows)
    bins = [
        CalibrationBin(low=i / num_bins, high=(i + 1) / num_bins, count=int(counts[i]), confidence=c, accuracy=a)
        for i, c, a in zip(filled.tolist(), mean_confidence.tolist(), accuracy.tolist(), strict=True)
    ]
    return Calibration(ece=error, bins=bins)


def percentile_bounds(draws: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The central ``confidence`` share of bootstrap draws ``[samples]``."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def rare_strata(references: Array) -> Array | None:
    """``references [N]`` as strata where one of its classes could vanish from a resample, else None."""
    return references if int(np.unique(references, return_counts=True)[1].min()) < RARE_CLASS_ROWS else None


def _newcombe(both: int, only_ours: int, only_theirs: int, rows: int, confidence: float) -> tuple[float, float]:
    ours = proportion_interval(both + only_ours, rows, confidence)
    theirs = proportion_interval(both + only_theirs, rows, confidence)
    phi = _corrected_phi(both, only_ours, only_theirs, rows - both - only_ours - only_theirs)
    difference = ours.value - theirs.value
    below = _add_squares(ours.value - ours.low, theirs.high - theirs.value, phi)
    above = _add_squares(ours.high - ours.value, theirs.value - theirs.low, phi)
    return max(-1.0, difference - below), min(1.0, difference + above)


def _add_squares(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))


def _corrected_phi(a: int, b: int, c: int, d: int) -> float:
    """Correlation of the pairs, with Newcombe's continuity correction where it is positive."""
    product = math.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    if product == 0:
        return 0.0
    determinant = float(a * d - b * c)
    if determinant > 0:
        determinant = max(determinant - (a + b + c + d) / 2, 0.0)
    return determinant / product


def _resamples(rows: int, samples: int, seed: int, strata: Array | None) -> Iterator[NDArray[np.intp]]:
    generator = np.random.default_rng(seed)
    if strata is None:
        for _ in range(samples):
            yield generator.integers(0, rows, size=rows)
        return
    order = np.argsort(strata, kind="stable")
    _, sizes = np.unique(strata, return_counts=True)
    size_of_row = np.repeat(sizes, sizes)
    start_of_row = np.repeat(np.cumsum(sizes) - sizes, sizes)
    for _ in range(samples):
        yield order[start_of_row + (generator.random(rows) * size_of_row).astype(np.intp)]


def _rows(*arrays: Array) -> int:
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"arrays must have the same number of rows, at least one; got {sorted(lengths)}")
    return lengths.pop()


def _z(confidence: float) -> float:
    return float(norm.ppf((1 + confidence) / 2))
