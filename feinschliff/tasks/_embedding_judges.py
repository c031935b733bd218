"""How vectors are judged: by searching the set's own texts, or by cosines beside numbers. Knows no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from feinschliff.data.examples import Example
from feinschliff.results.evaluation import WrongRow
from feinschliff.results.ranking import CUTOFFS, ranking_figures
from feinschliff.results.regression import regression_figures
from feinschliff.results.resampling import Figure
from feinschliff.tasks._retrieval import Corpus, Scores, Vectors
from feinschliff.tasks._shown import SHOWN_CHARACTERS, row_ref


class Judge(Protocol):
    """What is asked of one."""

    metrics: tuple[str, ...]
    """All, the one that decides by default first."""
    reason: str
    """Why that one decides."""

    def figures(self, answers: Any, examples: Sequence[Example]) -> dict[str, Figure]:
        """Each metric over the independent units."""
        ...

    def worst(self, answers: Any, examples: Sequence[Example], most: int) -> list[WrongRow]:
        """The units that went most wrong."""
        ...


class SearchJudge:
    """Anchors ask for their positives among all positives and negatives of the set; queries are the units."""

    metrics: tuple[str, ...] = (
        "ndcg_at_10",
        *(f"recall_at_{k}" for k in CUTOFFS),
        *(f"ndcg_at_{k}" for k in CUTOFFS if k != 10),
        "mrr",
    )
    reason = "where the text that was looked for stands among the first ten"

    def figures(self, answers: Scores, examples: Sequence[Example]) -> dict[str, Figure]:
        """Recall, nDCG and MRR."""
        return ranking_figures(Corpus(examples).search(answers)[0])

    def worst(self, answers: Scores, examples: Sequence[Example], most: int) -> list[WrongRow]:
        """Queries whose document came last; what came first instead."""
        corpus = Corpus(examples)
        ranks, firsts = corpus.search(answers)
        best = np.array([min(row) for row in ranks])
        order = [query for query in np.argsort(-best, kind="stable")[:most].tolist() if best[query] > 1]
        return [
            WrongRow(
                row=row_ref(examples[corpus.row_of[query]]),
                reference=f"rank {best[query]:.0f}: {examples[corpus.row_of[query]].texts[1][:SHOWN_CHARACTERS]}",
                prediction=f"rank 1: {corpus.texts[firsts[query]][:SHOWN_CHARACTERS]}",
                error=float(best[query]),
            )
            for query in order
        ]


class SimilarityJudge:
    """Cosines of pairs beside their numbers, by correlation."""

    metrics: tuple[str, ...] = ("spearman", "pearson")
    reason = "what is learned is the order of similarities"

    def figures(self, answers: Vectors, examples: Sequence[Example]) -> dict[str, Figure]:
        """Spearman's and Pearson's correlation."""
        found = regression_figures(self._values(examples), answers.similarities())
        return {name: found[name] for name in self.metrics}

    def worst(self, answers: Vectors, examples: Sequence[Example], most: int) -> list[WrongRow]:
        """Pairs whose place by cosine is farthest from that by number, as a share of the rows."""
        values, cosines = self._values(examples), answers.similarities()
        places = [np.argsort(np.argsort(numbers, kind="stable"), kind="stable") for numbers in (values, cosines)]
        off = np.abs(places[0] - places[1]) / max(1, len(values) - 1)
        return [
            WrongRow(
                row=row_ref(examples[row]),
                reference=f"{values[row]:.4g}",
                prediction=f"cosine {cosines[row]:.3f}",
                error=float(off[row]),
            )
            for row in np.argsort(-off, kind="stable")[:most].tolist()
        ]

    def _values(self, examples: Sequence[Example]) -> Any:
        return np.array([example.values[0] for example in examples], dtype=np.float64)
