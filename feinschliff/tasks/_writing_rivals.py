"""What a model tuned to write has to beat: the source's own beginning, and the base model as it is. Knows no loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feinschliff.data.examples import Example
from feinschliff.engine.batching import FORWARD_TOKENS, by_length
from feinschliff.tasks._task import Frozen

TIMED_ROWS = 64
"""Rows on which the base model is timed."""


class CopiedSource:
    """The source's first words, as many as a usual target has: the lead of an article, a sentence left untranslated."""

    name = "copied source"

    def __init__(self, examples: Sequence[Example]) -> None:
        self._num_words = max(1, round(float(np.median([len(one.references[0].split()) for one in examples]))))
        self.note = f"the first {self._num_words} words of the source, as many as the median target has"

    def answers(self, examples: Sequence[Example]) -> list[str]:
        """One text a row."""
        return [" ".join(example.texts[0].split()[: self._num_words]) for example in examples]


class UntunedModel:
    """What the base model writes as it is."""

    name, note = "untuned model", "what the base model writes as it is"

    def __init__(self, frozen: Frozen, examples: Sequence[Example]) -> None:
        self._frozen = frozen
        rows = examples[:TIMED_ROWS]
        table = frozen.task.encode(rows, frozen.max_length_tokens).table
        with frozen.timed(len(rows)):
            for part in by_length(table.lengths, FORWARD_TOKENS):
                frozen.task.time(frozen.network, table.collate(part))

    def answers(self, examples: Sequence[Example]) -> list[str]:
        """One text a row, written as the finished model writes."""
        frozen = self._frozen
        found: list[str] = frozen.task.written(frozen.network, examples, frozen.max_length_tokens)
        return found
