"""Metrics of classification with their intervals: one label a row, or several. Knows no model and no text.

Shapes: N rows, C classes, K distinct pairs of reference and prediction, S resamples.

A resample of rows is a multinomial draw of how often each distinct pair occurs, so the bootstrap costs K, not N:
2,000 resamples of 3,080 rows and 77 classes take a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from feinschliff.results.evaluation import ClassResult
from feinschliff.results.intervals import (
    RARE_CLASS_ROWS,
    Statistic,
    percentile_bounds,
    proportion_interval,
)
from feinschliff.results.measures import Measure
from feinschliff.results.resampling import divided

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SINGLE_LABEL_METRICS = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "mcc")
MULTI_LABEL_METRICS = ("micro_f1", "macro_f1", "subset_accuracy", "hamming_loss")
DECIDING_METRICS = {False: SINGLE_LABEL_METRICS, True: ("micro_f1", "macro_f1", "subset_accuracy")}
"""By whether rows carry several labels: those of which more is better."""
_MAX_DRAWN_CELLS = 4_000_000
"""Counts drawn at once; bounds the memory of a bootstrap to some tens of megabytes."""


def confusion_matrix(references: IntArray, predictions: IntArray, num_classes: int) -> NDArray[np.int64]:
    """Counts ``[C, C]``: reference by prediction."""
    flat = np.bincount(references * num_classes + predictions, minlength=num_classes * num_classes)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def classification_metrics(
    references: IntArray,
    predictions: IntArray,
    num_classes: int,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Measure]:
    """``accuracy``, ``macro_f1``, ``weighted_f1``, ``balanced_accuracy`` and ``mcc`` with intervals.

    Accuracy: Wilson's interval. The others: percentile bootstrap, by class where a class has fewer than ten rows.
    Classes that are neither in the references nor predicted do not count towards macro F1, classes without rows not
    towards balanced accuracy; mcc is the K-category correlation of Gorodkin (2004).

    Args:
        references, predictions: ``[N]``, class numbers 0 to C-1.

    Raises:
        ValueError: no rows, or arrays of different lengths.
    """
    _check(references, predictions)
    pairs, counts = np.unique(references * num_classes + predictions, return_counts=True)
    reference, predicted = pairs // num_classes, pairs % num_classes
    hit = _one_hot(reference, num_classes, reference == predicted)
    of_reference, of_prediction = _one_hot(reference, num_classes), _one_hot(predicted, num_classes)

    def scores(drawn: FloatArray) -> dict[str, FloatArray]:
        return _single_label(drawn @ hit, drawn @ of_reference, drawn @ of_prediction)

    support = np.bincount(references, minlength=num_classes)
    rare = bool((support[support > 0] < RARE_CLASS_ROWS).any())
    draws = _counts_drawn(counts, samples, seed, reference if rare else None)
    metrics = _with_intervals(scores(counts[None].astype(np.float64)), [scores(drawn) for drawn in draws], confidence)
    return _with_wilson(metrics, "accuracy", int(np.sum(references == predictions)), len(references), confidence)


def multi_label_metrics(
    references: BoolArray, predictions: BoolArray, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Measure]:
    """``micro_f1``, ``macro_f1``, ``subset_accuracy`` (all labels of the row right; Wilson) and ``hamming_loss``.

    Args:
        references, predictions: ``[N, C]``, whether the row has the label.

    Raises:
        ValueError: no rows, or arrays of different lengths.
    """
    _check(references, predictions)
    rows = np.concatenate([references, predictions], axis=1)
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    reference, predicted = np.split(distinct, 2, axis=1)
    hit, support, given = (a.astype(np.float64) for a in (reference & predicted, reference, predicted))

    def scores(drawn: FloatArray) -> dict[str, FloatArray]:
        return _multi_label(drawn @ hit, drawn @ support, drawn @ given, len(references))

    draws = [scores(drawn) for drawn in _counts_drawn(counts, samples, seed, None)]
    metrics = _with_intervals(scores(counts[None].astype(np.float64)), draws, confidence)
    right = int(np.sum((references == predictions).all(axis=1)))
    metrics = _with_wilson(metrics, "subset_accuracy", right, len(references), confidence)
    return {name: metrics[name] for name in MULTI_LABEL_METRICS}


def metric_function(name: str, num_classes: int) -> Statistic:
    """``(references, predictions) -> figure`` for the paired bootstrap; arrays ``[N]`` or, several labels, ``[N, C]``.

    Raises:
        KeyError: (at the call) there is no metric of that name for such arrays.
    """

    def statistic(references: NDArray[Any], predictions: NDArray[Any]) -> float:
        if references.ndim == 2:
            if name == "subset_accuracy":
                return float(np.mean((references == predictions).all(axis=1)))
            hits, support, given = (a.sum(axis=0)[None] for a in (references & predictions, references, predictions))
            return float(_multi_label(hits, support, given, len(references))[name][0])
        hits = np.bincount(references[references == predictions], minlength=num_classes)
        support, given = (np.bincount(a, minlength=num_classes) for a in (references, predictions))
        return float(_single_label(hits[None], support[None], given[None])[name][0])

    return statistic


def per_class(
    references: NDArray[Any], predictions: NDArray[Any], labels: Sequence[str], confidence: float = 0.95
) -> list[ClassResult]:
    """One :class:`ClassResult` a label, in the order of ``labels``; precision and recall with Wilson's interval.

    Args:
        references, predictions: ``[N]`` class numbers, or ``[N, C]`` bool for several labels a row.
    """
    if references.ndim == 1:
        hits = np.bincount(references[references == predictions], minlength=len(labels))
        support, given = (np.bincount(a, minlength=len(labels)) for a in (references, predictions))
    else:
        hits, support, given = (a.sum(axis=0) for a in (references & predictions, references, predictions))
    f1 = divided(2.0 * hits, support + given)
    return [
        ClassResult(
            label=label,
            support=int(support[i]),
            predicted=int(given[i]),
            precision=proportion_interval(int(hits[i]), int(given[i]), confidence),
            recall=proportion_interval(int(hits[i]), int(support[i]), confidence),
            f1=float(f1[i]),
        )
        for i, label in enumerate(labels)
    ]


def _single_label(hits: NDArray[Any], support: NDArray[Any], given: NDArray[Any]) -> dict[str, FloatArray]:
    """Metrics ``[S]`` from hits, rows and predictions of each class, all ``[S, C]``."""
    rows = support.sum(axis=1).astype(np.float64)
    right = hits.sum(axis=1).astype(np.float64)
    f1 = divided(2.0 * hits, support + given)
    recall = divided(hits, support)
    by_chance = (support * given).sum(axis=1)
    spread = np.sqrt(
        (rows**2 - np.square(support, dtype=np.float64).sum(axis=1))
        * (rows**2 - np.square(given, dtype=np.float64).sum(axis=1))
    )
    return {
        "accuracy": right / rows,
        "macro_f1": f1.sum(axis=1) / ((support + given) > 0).sum(axis=1),
        "weighted_f1": (f1 * support).sum(axis=1) / rows,
        "balanced_accuracy": recall.sum(axis=1) / (support > 0).sum(axis=1),
        "mcc": divided(right * rows - by_chance, spread),
    }


def _multi_label(hits: NDArray[Any], support: NDArray[Any], given: NDArray[Any], rows: int) -> dict[str, FloatArray]:
    """Metrics ``[S]`` from margins ``[S, C]``; a label nobody has and nobody predicted does not count."""
    f1 = divided(2.0 * hits, support + given)
    wrong = (support + given - 2 * hits).sum(axis=1)
    occurring = ((support + given) > 0).sum(axis=1)
    return {
        "micro_f1": divided(2.0 * hits.sum(axis=1), (support + given).sum(axis=1)),
        "macro_f1": divided(f1.sum(axis=1), occurring),
        "hamming_loss": wrong / (rows * hits.shape[1]),
    }


def _with_intervals(
    values: dict[str, FloatArray], draws: list[dict[str, FloatArray]], confidence: float
) -> dict[str, Measure]:
    measures = {}
    for name, value in values.items():
        low, high = percentile_bounds(np.concatenate([drawn[name] for drawn in draws]), confidence)
        measures[name] = Measure(value=float(value[0]), low=low, high=high)
    return measures


def _with_wilson(
    metrics: dict[str, Measure], name: str, right: int, rows: int, confidence: float
) -> dict[str, Measure]:
    """The share of right rows gets Wilson's interval. Where every row was right, a bootstrap sees no error in any
    resample and would claim certainty; the other metrics then take the same interval (the loss, its mirror image)."""
    share = proportion_interval(right, rows, confidence)
    if right == rows:
        error = Measure(value=0.0, low=0.0, high=1.0 - share.low)
        metrics = {other: error if other == "hamming_loss" else _at_one(m, share) for other, m in metrics.items()}
    return {**metrics, name: share}


def _at_one(measure: Measure, share: Measure) -> Measure:
    return share if measure.value == 1.0 else measure


def _counts_drawn(counts: IntArray, samples: int, seed: int, strata: IntArray | None) -> Iterator[FloatArray]:
    """Resampled counts ``[s, K]`` of the distinct pairs, in chunks that together have S rows."""
    generator = np.random.default_rng(seed)
    chunk = max(1, _MAX_DRAWN_CELLS // len(counts))
    groups = [np.arange(len(counts))] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    for start in range(0, samples, chunk):
        drawn = np.empty((min(chunk, samples - start), len(counts)))
        for group in groups:
            total = counts[group].sum()
            drawn[:, group] = generator.multinomial(total, counts[group] / total, size=len(drawn))
        yield drawn


def _one_hot(classes: IntArray, num_classes: int, where: BoolArray | None = None) -> Any:
    """Sparse ``[K, C]``: one where the pair belongs to the class (and ``where`` holds)."""
    ones = np.ones(len(classes)) if where is None else where.astype(np.float64)
    return sparse.csr_array((ones, (np.arange(len(classes)), classes)), shape=(len(classes), num_classes))


def _check(references: NDArray[Any], predictions: NDArray[Any]) -> None:
    if references.shape != predictions.shape or len(references) == 0:
        raise ValueError(f"references {references.shape} and predictions {predictions.shape} must match, not empty")
