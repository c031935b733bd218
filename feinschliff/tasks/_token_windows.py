"""Texts to tokens in windows, each word's first token with its tag. Knows no model and no loss.

A word is what the tokenizer's first tokens begin: a token begins one where a blank stands before it, or where letters
and other characters meet. Only first tokens are tagged and answer, for the whole word. A text that is longer than the
limit is read in windows that overlap; of a word that stands in two, the window answers in which it stands farther from
the edge. So every word has one tag, however long the text is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from feinschliff.data.examples import Example
from feinschliff.data.spans import Ints
from feinschliff.data.token_tags import TagSet, filled_ranges, token_tags
from feinschliff.engine.batching import NO_TARGET, TokenTable, TokenTargets
from feinschliff.engine.virtual_tokens import places_behind
from feinschliff.tasks._task import EncodedSet

TOKENIZE_ROWS = 2048
"""Texts tokenized at once; bounds memory."""


@dataclass(slots=True)
class EncodedWords(EncodedSet):
    """Windows as rows of the table; words in the order of examples and texts."""

    words: Ints | None = None
    """[W] places of the words' first tokens among all tokens of the table."""
    ranges_W2: Ints | None = None
    """[W, 2] from and up to which character of its text each word goes."""
    first_words: Ints | None = None
    """[N + 1] where the words of each example begin."""
    num_windowed: int = 0
    """Texts that were read in several windows."""
    num_inexact: int = 0
    """Spans whose borders fall inside words, or that no word of their own belongs to."""

    def behind(self, count: int) -> EncodedWords:
        """The set with places for virtual tokens; words move along."""
        if count == 0 or self.words is None or not isinstance(self.table, TokenTable):
            return self
        moved = EncodedSet.behind(self, count)
        return replace(moved, words=places_behind(self.words, self.table, count))


@dataclass(slots=True)
class _Row:
    """One example: its windows' tokens, and its words."""

    windows: list[list[int]]
    words: list[int]
    """Places among the tokens of all windows."""
    ranges_W2: Ints


def encode_words(
    tokenizer: Any, examples: Sequence[Example], tags: TagSet, limit: int, overlap_fraction: float
) -> EncodedWords:
    """All windows of all examples, with the tags of their words as targets (``O`` where an example has no spans).

    Spans of types that are not among ``tags`` are ``O`` too: held-out rows may have what no training row has.
    """
    ids: list[list[int]] = []
    words, ranges, first_words, values = [], [], [0], []
    begin = num_windowed = num_inexact = 0
    for example, row in zip(examples, _rows(tokenizer, examples, limit, overlap_fraction), strict=True):
        known = [span for span in example.spans if span.label in tags.labels]
        tagged = token_tags(row.ranges_W2, known, example.texts[0], tags)
        num_inexact += tagged.num_inexact + tagged.num_unseen
        num_windowed += len(row.windows) > 1
        words.append(begin + np.asarray(row.words, dtype=np.int64))
        ranges.append(row.ranges_W2)
        values.append(tagged.ids_T)
        first_words.append(first_words[-1] + len(row.words))
        ids += row.windows
        begin += sum(map(len, row.windows))
    flat = np.concatenate([np.asarray(window, dtype=np.int32) for window in ids]) if ids else np.empty(0, np.int32)
    places = np.concatenate(words) if words else np.empty(0, np.int64)
    targets = np.full(len(flat), NO_TARGET, dtype=np.int64)
    targets[places] = np.concatenate(values) if values else 0
    return EncodedWords(
        table=TokenTable(flat, np.cumsum([0, *map(len, ids)])),
        targets=TokenTargets(targets),
        num_cut=0,
        examples=examples,
        words=places,
        ranges_W2=np.concatenate(ranges) if ranges else np.empty((0, 2), np.int64),
        first_words=np.asarray(first_words),
        num_windowed=num_windowed,
        num_inexact=num_inexact,
    )


def _rows(tokenizer: Any, examples: Sequence[Example], limit: int, overlap_fraction: float) -> Iterator[_Row]:
    asked: dict[str, Any] = {"return_offsets_mapping": True, "return_attention_mask": False, "verbose": False}
    room = limit - tokenizer.num_special_tokens_to_add()
    cut = {"truncation": True, "max_length": limit, "stride": int(overlap_fraction * room)}
    for begin in range(0, len(examples), TOKENIZE_ROWS):
        texts = [example.texts[0] for example in examples[begin : begin + TOKENIZE_ROWS]]
        whole = tokenizer(texts, **asked)
        for text, ids, offsets in zip(texts, whole["input_ids"], whole["offset_mapping"], strict=True):
            if len(ids) <= limit:
                yield _row(text, [ids], [offsets])
            else:
                parts = tokenizer(text, return_overflowing_tokens=True, **cut, **asked)
                yield _row(text, parts["input_ids"], parts["offset_mapping"])


def _row(text: str, windows: list[list[int]], offsets: list[Any]) -> _Row:
    words: list[int] = []
    ranges: list[Ints] = []
    begin = 0
    borders = _borders([filled_ranges(part, text) for part in offsets])
    for (window, part), (low, high) in zip(zip(windows, offsets, strict=True), borders, strict=True):
        ranges_T2 = filled_ranges(part, text)
        firsts, ranges_W2 = _words(ranges_T2, text)
        own = (ranges_W2[:, 0] >= low) & (ranges_W2[:, 0] < high)
        words += (begin + firsts[own]).tolist()
        ranges.append(ranges_W2[own])
        begin += len(window)
    return _Row(windows, words, np.concatenate(ranges))


def _borders(ranges: list[Ints]) -> list[tuple[int, int]]:
    """From and up to which character the words of each window are its own: overlaps are parted in their middle."""
    ends: list[int] = []
    for one, other in pairwise(ranges):
        begin, end = int(other[other[:, 1] > other[:, 0]][0, 0]), int(one[:, 1].max())
        ends.append((begin + end) // 2 if end > begin else begin)
    return list(zip([0, *ends], [*ends, 2**62], strict=True))


def _words(ranges_T2: Ints, text: str) -> tuple[Ints, Ints]:
    """The tokens that begin words [W], and the words' characters [W, 2]."""
    places = np.flatnonzero(ranges_T2[:, 1] > ranges_T2[:, 0])
    begins, before = [], -1
    for place in places.tolist():
        start, end = int(ranges_T2[place, 0]), int(ranges_T2[place, 1])
        begins.append(start >= before and _begins(text, start))
        before = max(before, end)
    if not begins:
        return places, np.empty((0, 2), dtype=np.int64)
    begins[0] = True
    chosen = np.flatnonzero(begins)
    starts = ranges_T2[places[chosen], 0]
    lasts = np.append(chosen[1:], len(places)) - 1
    return places[chosen], np.stack([starts, ranges_T2[places[lasts], 1]], axis=1).reshape(-1, 2)


def _begins(text: str, start: int) -> bool:
    """Whether a word begins at a character: after a blank, and at and after what is neither letter nor digit."""
    return start == 0 or not (text[start].isalnum() and text[start - 1].isalnum())
