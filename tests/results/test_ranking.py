"""Retrieval against scikit-learn's nDCG, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from feinschliff.results.intervals import proportion_interval
from feinschliff.results.ranking import ranking_figures, ranking_metrics, ranks_of_relevant
from feinschliff.results.resampling import value_of


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 12))
def test_ndcg_equals_scikit_learns(seed: int, documents: int, cutoff: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.permuted(np.tile(np.arange(documents, dtype=float), (6, 1)), axis=1)
    relevant = generator.random((6, documents)) < 0.3
    relevant[np.arange(6), generator.integers(0, documents, 6)] = True
    found = value_of(ranking_figures(ranks_of_relevant(scores, relevant), [cutoff])[f"ndcg_at_{cutoff}"])
    assert found == pytest.approx(ndcg_score(relevant, scores, k=cutoff))


def test_metrics_by_hand() -> None:
    ranks = [[1.0], [4.0, 2.0], [math.inf], [3.0, math.inf, 1.0]]
    found = {name: m.value for name, m in ranking_metrics(ranks, cutoffs=(1, 3), samples=100).items()}
    third = 1 / math.log2(4)
    second = 1 / math.log2(3)
    assert found == pytest.approx(
        {
            "recall_at_1": (1 + 0 + 0 + 1 / 3) / 4,
            "recall_at_3": (1 + 1 / 2 + 0 + 2 / 3) / 4,
            "ndcg_at_1": (1 + 0 + 0 + 1) / 4,
            "ndcg_at_3": (1 + second / (1 + second) + 0 + (1 + third) / (1 + second + third)) / 4,
            "mrr": (1 + 1 / 2 + 0 + 1) / 4,
        }
    )


def test_ranks_and_ties() -> None:
    scores = np.array([[0.9, 0.5, 0.5, 0.1], [0.3, 0.3, 0.3, 0.3], [0.2, -np.inf, 0.1, -np.inf]])
    relevant = np.array([[0, 1, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]], dtype=bool)
    assert ranks_of_relevant(scores, relevant) == [[3.0, 4.0], [3.0, 4.0], [2.0, math.inf]]


def test_one_relevant_document_a_query_is_a_share_of_right_queries() -> None:
    found = ranking_metrics([[1.0]] * 30 + [[2.0]] * 10, cutoffs=(1, 2), samples=300)
    assert found["recall_at_1"] == proportion_interval(30, 40)
    assert found["recall_at_2"] == proportion_interval(40, 40)
    assert found["mrr"].low < found["mrr"].value == 0.875 < found["mrr"].high


def test_a_perfect_order_is_exactly_one_and_not_certain() -> None:
    found = ranking_metrics([[1.0, 2.0, 3.0, 4.0, 5.0]] * 20, samples=100)
    assert found["ndcg_at_10"] == found["mrr"] == proportion_interval(20, 20)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one relevant"):
        ranking_metrics([[1.0], []])
    with pytest.raises(ValueError, match="count from 1"):
        ranking_metrics([[0.0]])
