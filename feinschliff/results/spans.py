"""Metrics of labelled spans (entities) with their intervals. Knows no tokens, no tags and no model.

A span is ``(start, end, label)`` in any unit that references and predictions share. A predicted span is right where a
reference span of the same sentence has the same borders and the same label, and counts once however often it is given:
the strict mode of seqeval (Nakayama 2018), micro average.

Shapes: N sentences, C labels. Sentences are the independent units: spans of one sentence go wrong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feinschliff.results.evaluation import ClassResult
from feinschliff.results.intervals import Statistic, proportion_interval
from feinschliff.results.measures import Measure
from feinschliff.results.resampling import Figure, FloatArray, FunctionOfSums, divided, measure_figures, value_of

Span = tuple[int, int, str]
Spans = Sequence[Sequence[Span]]
"""Of each sentence its spans."""

ENTITY_METRICS = ("entity_f1", "entity_precision", "entity_recall")
DECIDING_METRICS = ENTITY_METRICS


def span_counts(references: Spans, predictions: Spans, labels: Sequence[str]) -> NDArray[np.int64]:
    """Counts ``[N, C, 3]``: spans that are right, predicted, and in the references, by sentence and label.

    Raises:
        ValueError: no sentences, or different numbers of them.
        KeyError: a span with another label.
    """
    if len(references) != len(predictions) or not references:
        raise ValueError(
            f"{len(references)} reference and {len(predictions)} predicted sentences must match, not empty"
        )
    index = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(references), len(labels), 3), dtype=np.int64)
    for sentence, (truth, given) in enumerate(zip(references, predictions, strict=True)):
        for column, spans in enumerate((set(truth) & set(given), set(given), set(truth))):
            for _, _, label in spans:
                counts[sentence, index[label], column] += 1
    return counts


def entity_metrics(
    references: Spans, predictions: Spans, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Measure]:
    """``entity_f1``, ``entity_precision`` and ``entity_recall`` with percentile bootstrap intervals over sentences.

    Zero where nothing is predicted, or nothing there to find.

    Raises:
        ValueError: no sentences, or different numbers of them.
    """
    figures = entity_figures(references, predictions)
    with_spans = sum(bool(truth or given) for truth, given in zip(references, predictions, strict=True))
    return measure_figures(figures, samples, confidence, seed, border_units=with_spans)


def entity_figures(references: Spans, predictions: Spans) -> dict[str, Figure]:
    """Each metric as a function of how often each sentence counts."""
    totals = span_counts(references, predictions, _labels(references, predictions)).sum(axis=1).astype(np.float64)
    values = zip(ENTITY_METRICS, (_f1, _precision, _recall), strict=True)
    return {name: FunctionOfSums(totals, value) for name, value in values}


def entity_statistic(name: str) -> Statistic:
    """``(references, predictions) -> figure`` of spans by sentence.

    Raises:
        KeyError: (at the call) there is no metric of that name.
    """

    def statistic(references: Spans, predictions: Spans) -> float:
        return value_of(entity_figures(references, predictions)[name])

    return statistic


def per_label(
    references: Spans, predictions: Spans, labels: Sequence[str] | None = None, confidence: float = 0.95
) -> list[ClassResult]:
    """One :class:`ClassResult` a label, its support and predictions counted in spans; precision and recall with
    Wilson's interval.

    Args:
        labels: which, in which order; None: those that occur, sorted.
    """
    labels = _labels(references, predictions) if labels is None else labels
    hits, given, support = span_counts(references, predictions, labels).sum(axis=0).T
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


def _labels(*of_candidates: Spans) -> list[str]:
    return sorted({label for spans in of_candidates for sentence in spans for _, _, label in sentence})


def _f1(sums: NDArray[Any]) -> FloatArray:
    return divided(2.0 * sums[:, 0], sums[:, 1] + sums[:, 2])


def _precision(sums: NDArray[Any]) -> FloatArray:
    return divided(sums[:, 0], sums[:, 1])


def _recall(sums: NDArray[Any]) -> FloatArray:
    return divided(sums[:, 0], sums[:, 2])
