"""Bootstrap over independent units: rows, sentences, queries, questions. Knows no metric by name and no task.

Shapes: N units, S resamples, m sums.

A resample says how often each unit counts, ``[S, N]``. A metric of a candidate is a :class:`Figure`: a function of
those counts. Most are functions of sums over units (F1, a correlation, BLEU), so that a bootstrap is one matrix
product: 2,000 resamples of 20,000 units take about half a second. Two candidates are compared on the same counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from feinschliff.results.intervals import difference_of_draws, percentile_bounds, proportion_interval
from feinschliff.results.measures import Difference, Measure

FloatArray = NDArray[np.float64]

_MAX_DRAWN_CELLS = 1_000_000
"""Counts drawn at once: 8 MB, so that they stay in the processor's cache while several metrics read them."""


class Figure(Protocol):
    """A metric of one candidate, as a function of how often each of its units counts."""

    @property
    def num_units(self) -> int:
        """N."""
        ...

    def __call__(self, counts: FloatArray) -> FloatArray:
        """``[S, N] -> [S]``; nan where none of the units that it needs was drawn."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MeanOfUnits:
    """The mean of one number a unit: exact match, recall of a query, F1 of a question."""

    units: FloatArray
    """``[N]``."""

    @property
    def num_units(self) -> int:
        return len(self.units)

    @property
    def is_share(self) -> bool:
        """Whether every unit is right (1) or wrong (0): then there are better intervals and tests than a bootstrap."""
        return bool(np.isin(self.units, (0.0, 1.0)).all())

    def __call__(self, counts: FloatArray) -> FloatArray:
        mean: FloatArray = counts @ self.units / counts.sum(axis=1)
        return mean


@dataclass(frozen=True, slots=True, eq=False)
class FunctionOfSums:
    """A function of sums over units: hits and counts for F1, moments for a correlation."""

    units: FloatArray
    """``[N, m]``: sufficient statistics."""
    value: Callable[[FloatArray], FloatArray]
    """``[S, m] -> [S]``."""

    @property
    def num_units(self) -> int:
        return len(self.units)

    def __call__(self, counts: FloatArray) -> FloatArray:
        return self.value(counts @ self.units)


@dataclass(frozen=True, slots=True, eq=False)
class MeanOfFigures:
    """The plain mean over figures of the same units (over targets), those left out that are nan in a resample."""

    parts: tuple[Figure, ...]

    @property
    def num_units(self) -> int:
        return self.parts[0].num_units

    def __call__(self, counts: FloatArray) -> FloatArray:
        values = np.stack([part(counts) for part in self.parts])
        known = np.isfinite(values)
        total = np.where(known, values, 0.0).sum(axis=0)
        return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def value_of(figure: Figure) -> float:
    """The figure with every unit counted once."""
    return float(figure(np.ones((1, figure.num_units)))[0])


def measure_figures(
    figures: Mapping[str, Figure],
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    border_units: int | None = None,
) -> dict[str, Measure]:
    """Each figure with its interval: Wilson's where it is a share of right units, else percentile bootstrap.

    Args:
        figures: of the same N units.
        border_units: for figures within 0 to 1. Where every unit is right a bootstrap sees no error in any resample
            and would claim certainty (likewise where none is); the interval is then Wilson's for this many units.

    Raises:
        ValueError: no units.
    """
    units = _units(*figures.values())
    shares = {name: f for name, f in figures.items() if isinstance(f, MeanOfUnits) and f.is_share}
    draws: dict[str, list[FloatArray]] = {name: [] for name in figures if name not in shares}
    for counts in _resampled_counts(units, samples, seed) if draws else ():
        for name in draws:
            draws[name].append(figures[name](counts))
    found = {name: proportion_interval(int(share.units.sum()), units, confidence) for name, share in shares.items()}
    for name, drawn in draws.items():
        low, high = percentile_bounds(np.concatenate(drawn), confidence)
        measure = Measure(value=value_of(figures[name]), low=low, high=high)
        found[name] = measure if border_units is None else _at_border(measure, border_units, confidence)
    return {name: found[name] for name in figures}


def paired_figures(
    better: Figure, other: Figure, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Difference:
    """``better - other`` on the same resampled units; interval and p as in :func:`intervals.paired_bootstrap`.

    p is never below 2^(1-N), the smallest that a sign-flip test of N pairs can give: a handful of units that all
    point one way prove nothing, whatever resamples of them say.

    Raises:
        ValueError: no units, or figures of different numbers of units.
    """
    units = _units(better, other)
    draws = np.concatenate([better(counts) - other(counts) for counts in _resampled_counts(units, samples, seed)])
    found = difference_of_draws(value_of(better) - value_of(other), draws, confidence)
    return found.model_copy(update={"p": max(found.p, 2.0 ** (1 - units))})


def divided(above: NDArray[Any], below: NDArray[Any]) -> FloatArray:
    """``above / below``, zero where ``below`` is zero."""
    result = np.zeros(np.shape(above), dtype=np.float64)
    np.divide(above, below, out=result, where=np.asarray(below) != 0)
    return result


def _resampled_counts(units: int, samples: int, seed: int) -> Iterator[FloatArray]:
    """How often each unit is drawn, ``[s, N]``, in chunks that together have S rows."""
    generator = np.random.default_rng(seed)
    chunk = max(1, _MAX_DRAWN_CELLS // units)
    for start in range(0, samples, chunk):
        rows = min(chunk, samples - start)
        drawn = generator.integers(0, units, size=(rows, units)) + np.arange(rows)[:, None] * units
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def _at_border(measure: Measure, units: int, confidence: float) -> Measure:
    if measure.low != measure.high or measure.value not in (0.0, 1.0):
        return measure
    return proportion_interval(int(measure.value) * units, units, confidence)


def _units(*figures: Figure) -> int:
    numbers = {figure.num_units for figure in figures}
    if len(numbers) != 1 or numbers == {0}:
        raise ValueError(f"figures must have the same number of units, at least one; got {sorted(numbers)}")
    return numbers.pop()
