"""A set of rows as a search task: its anchors are queries, its positives and negatives the documents. Knows no model.

Shapes: S texts of all rows in their order, Q distinct anchors, D distinct documents.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from feinschliff.data.examples import Example
from feinschliff.results.ranking import ranks_of_relevant
from feinschliff.tasks._task import Floats

QUERIES_AT_ONCE = 256
"""Bounds memory: scores of so many queries with all documents."""
BM25_SATURATION, BM25_LENGTH = 1.2, 0.75
"""k1 and b of Robertson and Zaragoza (2009), where most programs have them."""


class Scores(Protocol):
    """What a candidate says of the texts of a set."""

    def scores(self, queries: Sequence[int], documents: Sequence[int]) -> Floats:
        """[q, D] for some texts with others, all by their numbers; more is nearer."""
        ...


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of length one [S, d]; those of row ``i`` are ``first[i]`` to ``first[i + 1]``."""

    values: Floats
    first: npt.NDArray[np.int64]

    def scores(self, queries: Sequence[int], documents: Sequence[int]) -> Floats:
        """Cosines."""
        found: Floats = self.values[queries] @ self.values[documents].T
        return found

    def similarities(self) -> npt.NDArray[np.float64]:
        """Cosines of the first two texts of each row [N]."""
        begin = self.first[:-1]
        found: npt.NDArray[np.float64] = (self.values[begin] * self.values[begin + 1]).sum(1).astype(np.float64)
        return found


class Corpus:
    """Queries, documents, and which of them belong together, by numbers of texts."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.texts = [text for example in examples for text in example.texts]
        queries: dict[str, int] = {}
        documents: dict[str, int] = {}
        relevant: dict[str, set[str]] = {}
        place = 0
        self.row_of: list[int] = []
        """[Q] the first row of each query."""
        for row, example in enumerate(examples):
            anchor, positive = example.texts[:2]
            if anchor not in queries:
                self.row_of.append(row)
            queries.setdefault(anchor, place)
            relevant.setdefault(anchor, set()).add(positive)
            for number, text in enumerate(example.texts[1:], start=place + 1):
                documents.setdefault(text, number)
            place += len(example.texts)
        self.queries, self.documents = list(queries.values()), list(documents.values())
        self._column = {text: column for column, text in enumerate(documents)}
        self._relevant = [[self._column[text] for text in relevant[query]] for query in queries]
        self._itself = [self._column.get(query) for query in queries]

    def search(self, candidate: Scores) -> tuple[list[list[float]], list[int]]:
        """Of each query the ranks of its documents, and the text that came first. A query does not find itself."""
        ranks: list[list[float]] = []
        firsts: list[int] = []
        for begin in range(0, len(self.queries), QUERIES_AT_ONCE):
            part = range(begin, min(begin + QUERIES_AT_ONCE, len(self.queries)))
            scores = candidate.scores([self.queries[query] for query in part], self.documents).astype(np.float64)
            relevant = np.zeros(scores.shape, dtype=bool)
            for row, query in enumerate(part):
                itself = self._itself[query]
                if itself is not None and itself not in self._relevant[query]:
                    scores[row, itself] = -np.inf
                relevant[row, self._relevant[query]] = True
            ranks += ranks_of_relevant(scores, relevant)
            firsts += [self.documents[column] for column in scores.argmax(1).tolist()]
        return ranks, firsts


class WordMatches:
    """BM25 (Robertson and Zaragoza 2009) over the texts of a set."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def scores(self, queries: Sequence[int], documents: Sequence[int]) -> Floats:
        """Sums over the query's distinct words that stand in a document."""
        from sklearn.feature_extraction.text import CountVectorizer

        words: Any = CountVectorizer(analyzer=lambda text: re.findall(r"\w+", text.casefold()) or [""])
        counts = words.fit_transform([self._texts[place] for place in documents]).astype(np.float64).tocsr()
        lengths = np.asarray(counts.sum(1)).ravel()
        long = 1.0 - BM25_LENGTH + BM25_LENGTH * lengths / max(lengths.mean(), 1.0)
        weight = counts.copy()
        saturated = counts.data + BM25_SATURATION * np.repeat(long, np.diff(counts.indptr))
        weight.data = counts.data * (BM25_SATURATION + 1.0) / saturated
        df = np.bincount(counts.indices, minlength=counts.shape[1])
        rarity = np.log(1.0 + (len(documents) - df + 0.5) / (df + 0.5))
        asked = words.transform([self._texts[place] for place in queries]) > 0
        found: Floats = (asked.multiply(rarity[None]) @ weight.T).toarray().astype(np.float32)
        return found


class Bm25:
    """Search by words, as engines without a model do it."""

    name, note = "BM25", "words in common, the rarer the better"

    def answers(self, examples: Sequence[Example]) -> WordMatches:
        """On the set's own texts: nothing is learned."""
        return WordMatches([text for example in examples for text in example.texts])
