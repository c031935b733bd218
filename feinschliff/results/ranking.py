"""Metrics of retrieval with their intervals, from the ranks of each query's relevant documents. Knows no model.

Shapes: Q queries, D documents, R most relevant documents of a query. Ranks count from 1; a relevant document that was
not retrieved has the rank infinity. Relevance is yes or no. Queries are the independent units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feinschliff.results.measures import Measure
from feinschliff.results.resampling import Figure, FloatArray, MeanOfUnits, measure_figures

Ranks = Sequence[Sequence[float]]
"""Of each query the ranks of its relevant documents, in any order."""

CUTOFFS = (1, 5, 10)


def ranks_of_relevant(scores: NDArray[Any], relevant: NDArray[np.bool_]) -> list[list[float]]:
    """Ranks by falling score; among equal scores relevant documents come last, so a model that cannot tell gains
    nothing.

    Args:
        scores: ``[Q, D]``; -inf for documents that were not retrieved.
        relevant: ``[Q, D]``.
    """
    order = np.lexsort((relevant, -scores), axis=-1)
    places = [np.flatnonzero(row) for row in np.take_along_axis(relevant, order, axis=-1)]
    found = np.isfinite(np.take_along_axis(scores, order, axis=-1))
    return [
        [float(place + 1) if found[query, place] else math.inf for place in row] for query, row in enumerate(places)
    ]


def ranking_metrics(
    ranks: Ranks,
    cutoffs: Sequence[int] = CUTOFFS,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Measure]:
    """``recall_at_k``, ``ndcg_at_k`` (each cutoff k) and ``mrr`` with intervals over queries.

    Recall: share of a query's relevant documents among the first k, and with one relevant document a query Wilson's
    interval. nDCG: Jarvelin and Kekalainen (2002) with gains of 0 or 1 and the discount 1/log2(1 + rank). mrr: mean
    of 1/rank of the first relevant document. The others: percentile bootstrap.

    Raises:
        ValueError: no queries, a query without relevant documents, or a rank below 1.
    """
    figures = ranking_figures(ranks, cutoffs)
    return measure_figures(figures, samples, confidence, seed, border_units=len(ranks))


def ranking_figures(ranks: Ranks, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, Figure]:
    """Each metric as a function of how often each query counts."""
    padded, num_relevant = _padded(ranks)
    figures: dict[str, Figure] = {}
    for k in cutoffs:
        figures[f"recall_at_{k}"] = MeanOfUnits((padded <= k).sum(axis=1) / num_relevant)
    for k in cutoffs:
        figures[f"ndcg_at_{k}"] = MeanOfUnits(_ndcg(padded, num_relevant, k))
    return {**figures, "mrr": MeanOfUnits(1.0 / padded.min(axis=1))}


def _ndcg(padded: FloatArray, num_relevant: NDArray[np.int64], k: int) -> FloatArray:
    """``[Q]``: gained over what the best order would have gained."""
    best = np.arange(1.0, padded.shape[1] + 1)
    gained = np.where(padded <= k, 1.0 / np.log2(1.0 + padded), 0.0)
    possible = np.where((best <= k) & (best <= num_relevant[:, None]), 1.0 / np.log2(1.0 + best), 0.0)
    ratio: FloatArray = gained.sum(axis=1) / possible.sum(axis=1)
    return ratio


def _padded(ranks: Ranks) -> tuple[FloatArray, NDArray[np.int64]]:
    """Ranks ``[Q, R]``, the lowest first and infinity after the last, and the number of relevant documents ``[Q]``."""
    num_relevant = np.array([len(row) for row in ranks], dtype=np.int64)
    if len(ranks) == 0 or num_relevant.min() == 0:
        raise ValueError("there must be queries, and each needs at least one relevant document")
    padded = np.full((len(ranks), num_relevant.max()), np.inf)
    for query, row in enumerate(ranks):
        padded[query, : len(row)] = sorted(row)
    if not padded.min() >= 1:
        raise ValueError(f"ranks count from 1, got {padded.min()}")
    return padded, num_relevant
