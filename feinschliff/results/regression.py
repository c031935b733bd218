"""Metrics of regression with their intervals: one number a row, or several targets. Knows no model and no text.

Shapes: N rows, K targets, S resamples. A reference that is missing is nan and left out of its target's figures; with
several targets a metric is the plain mean over targets. Whatever is constant has the correlation 0 with everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feinschliff.results.evaluation import MAX_POINTS, TargetResult
from feinschliff.results.intervals import Statistic
from feinschliff.results.measures import Measure
from feinschliff.results.resampling import (
    Figure,
    FloatArray,
    FunctionOfSums,
    MeanOfFigures,
    divided,
    measure_figures,
    value_of,
)

REGRESSION_METRICS = ("pearson", "spearman", "r2", "rmse", "mae")
DECIDING_METRICS = REGRESSION_METRICS
"""Any of them can decide; of rmse and mae less is better (:data:`formats.LESS_IS_BETTER`)."""
_CONSTANT = 1e-12
"""A variance below this share of the mean square is rounding: the numbers are all the same."""


def regression_metrics(
    references: NDArray[Any],
    predictions: NDArray[Any],
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Measure]:
    """``pearson``, ``spearman``, ``r2``, ``rmse`` and ``mae`` with percentile bootstrap intervals over rows.

    r2 is the share of variance explained, 1 - SSE/SST; where the references are constant it is 1 if all are met, else
    0 (scikit-learn's convention). rmse and mae are in units of the target.

    Args:
        references: ``[N]`` or ``[N, K]``; nan where a target is missing. Rows without any target are left out.
        predictions: the same shape.

    Raises:
        ValueError: shapes that differ, predictions that are not finite, or a target without any reference.
    """
    return measure_figures(regression_figures(references, predictions), samples, confidence, seed)


def regression_figures(references: NDArray[Any], predictions: NDArray[Any]) -> dict[str, Figure]:
    """Each metric as a function of how often each row counts; arguments as for :func:`regression_metrics`."""
    targets = [_of_target(y, p) for y, p in zip(*_columns(references, predictions), strict=True)]
    return {
        name: targets[0][name] if len(targets) == 1 else MeanOfFigures(tuple(figures[name] for figures in targets))
        for name in REGRESSION_METRICS
    }


def regression_statistic(name: str) -> Statistic:
    """``(references, predictions) -> figure``; arrays as for :func:`regression_metrics`.

    Raises:
        KeyError: (at the call) there is no metric of that name.
    """

    def statistic(references: NDArray[Any], predictions: NDArray[Any]) -> float:
        return value_of(regression_figures(references, predictions)[name])

    return statistic


def per_target(
    references: NDArray[Any],
    predictions: NDArray[Any],
    names: Sequence[str],
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[TargetResult]:
    """One :class:`TargetResult` a target, in the order of ``names``, with some of its rows for a scatter plot.

    Intervals are over the rows that have the target.
    """
    table = []
    for name, y, p in zip(names, *_columns(references, predictions), strict=True):
        known = np.flatnonzero(np.isfinite(y))
        shown = known
        if len(known) > MAX_POINTS:
            shown = np.sort(np.random.default_rng(seed).choice(known, MAX_POINTS, replace=False))
        table.append(
            TargetResult(
                name=name,
                rows=len(known),
                metrics=measure_figures(_of_target(y[known], p[known]), samples, confidence, seed),
                points=list(zip(y[shown].tolist(), p[shown].tolist(), strict=True)),
            )
        )
    return table


def row_errors(references: NDArray[Any], predictions: NDArray[Any]) -> FloatArray:
    """``[N]``: the absolute error of each row, nan where no target is known.

    With several targets: the mean over those known, each in units of its references' standard deviation.
    """
    y, p = (np.asarray(a, dtype=np.float64) for a in (references, predictions))
    if y.ndim == 1:
        return np.abs(y - p)
    spread = np.nanstd(y, axis=0)
    errors = np.abs(y - p) / np.where(spread > 0, spread, 1.0)
    known = np.isfinite(errors)
    total = np.where(known, errors, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class RankCorrelation:
    """Spearman's correlation over the rows that have the target, ranked anew in every resample.

    Sorted once: a resample keeps the order of the distinct values and changes only how often each occurs, so mean
    ranks are sums over how often smaller values were drawn.
    """

    rows: NDArray[np.intp] | None
    """``[n]``: the rows that have the target; None: all."""
    groups: tuple[NDArray[np.intp], NDArray[np.intp]]
    """Of the references and of the predictions, ``[n]``: which distinct value a row has, from the smallest."""
    num_units: int

    def __call__(self, counts: FloatArray) -> FloatArray:
        # Rows first: picking a row's counts then copies whole stretches of memory.
        drawn = np.ascontiguousarray((counts if self.rows is None else counts[:, self.rows]).T)
        total = drawn.sum(axis=0)
        x, y = (_centred_ranks(drawn, group, total) for group in self.groups)
        together = np.einsum("ns,ns,ns->s", drawn, x, y)
        squares = [np.einsum("ns,ns,ns->s", drawn, a, a) for a in (x, y)]
        return np.where(total > 0, _correlation(together, *squares), np.nan)


def _centred_ranks(drawn: FloatArray, group: NDArray[np.intp], total: FloatArray) -> FloatArray:
    """Ranks ``[n, S]`` of the rows in each resample, ties at their mean, less the mean of all ranks."""
    order = np.argsort(group, kind="stable")
    last = np.flatnonzero(np.diff(group[order], append=-1))
    up_to = np.cumsum(drawn[order], axis=0)[last]
    # A value's mean rank is the middle of the rows below it and the rows up to it, plus a half; the mean of all ranks
    # is half of all rows, plus a half.
    ranks: FloatArray = (up_to - total) / 2
    ranks[1:] += up_to[:-1] / 2
    return ranks[group]


def _of_target(references: FloatArray, predictions: FloatArray) -> dict[str, Figure]:
    """Every metric of one target: ``[N]``, nan where it is missing."""
    known = np.isfinite(references)
    sums = _moments(references, predictions, known)
    groups = [np.unique(a[known], return_inverse=True)[1] for a in (references, predictions)]
    ranked = RankCorrelation(None if known.all() else np.flatnonzero(known), (groups[0], groups[1]), len(references))
    values = {"pearson": _pearson, "r2": _r2, "rmse": _rmse, "mae": _mae}
    figures: dict[str, Figure] = {name: FunctionOfSums(sums, value) for name, value in values.items()}
    return {name: ranked if name == "spearman" else figures[name] for name in REGRESSION_METRICS}


def _moments(references: FloatArray, predictions: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """``[N, 8]``: one, y, p, y^2, p^2, yp, absolute and squared error; zeros where the target is missing."""
    error = np.where(known, references - predictions, 0.0)
    # Both are moved to mean zero: sums of squares of numbers far from zero would lose the variance to rounding.
    y = np.where(known, references - references[known].mean(), 0.0)
    p = np.where(known, predictions - predictions[known].mean(), 0.0)
    return np.stack([known.astype(np.float64), y, p, y * y, p * p, y * p, np.abs(error), error * error], axis=1)


def _pearson(sums: FloatArray) -> FloatArray:
    n, y, p, _, _, yp, _, _ = sums.T
    value = _correlation(yp - divided(y * p, n), *_variances(sums))
    return np.where(n > 0, value, np.nan)


def _r2(sums: FloatArray) -> FloatArray:
    n, squared = sums[:, 0], sums[:, 7]
    spread = _variances(sums)[0]
    unexplained = np.where(spread > 0, divided(squared, spread), squared > 0)
    return np.where(n > 0, 1.0 - unexplained, np.nan)


def _rmse(sums: FloatArray) -> FloatArray:
    return np.where(sums[:, 0] > 0, np.sqrt(divided(sums[:, 7], sums[:, 0])), np.nan)


def _mae(sums: FloatArray) -> FloatArray:
    return np.where(sums[:, 0] > 0, divided(sums[:, 6], sums[:, 0]), np.nan)


def _variances(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Summed squared distances from the mean, of references and predictions; exactly 0 for constants."""
    n, y, p, yy, pp, _, _, _ = sums.T
    spread_y, spread_p = yy - divided(y * y, n), pp - divided(p * p, n)
    return np.where(spread_y > _CONSTANT * yy, spread_y, 0.0), np.where(spread_p > _CONSTANT * pp, spread_p, 0.0)


def _correlation(together: FloatArray, spread: FloatArray, other: FloatArray) -> FloatArray:
    return np.clip(divided(together, np.sqrt(spread) * np.sqrt(other)), -1.0, 1.0)


def _columns(references: NDArray[Any], predictions: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Both as ``[K, N]``, without rows that have no target."""
    if references.shape != predictions.shape or references.ndim not in (1, 2):
        raise ValueError(f"references {references.shape} and predictions {predictions.shape} must match, [N] or [N, K]")
    y, p = (np.asarray(a, dtype=np.float64) for a in (references, predictions))
    if y.ndim == 1:
        y, p = y[:, None], p[:, None]
    known = np.isfinite(y)
    if np.isinf(y).any() or not np.isfinite(p).all():
        raise ValueError("references must be finite or nan (missing), predictions finite")
    if not known.any(axis=0).all() or known.size == 0:
        raise ValueError("every target needs at least one reference")
    kept = known.any(axis=1)
    return y[kept].T, p[kept].T
