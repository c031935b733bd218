"""Spans: pieces of a text with a label, by characters or by tokens. Knows no file format, no tags and no tokenizer."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From ``start`` up to, not including, ``end``: characters of a text (as Python counts them) or tokens of a row."""

    start: int
    end: int
    label: str


def join_tokens(tokens: Sequence[str]) -> tuple[str, Ints]:
    """The tokens as one text, single blanks between them, and each token's range of characters, [N, 2]."""
    lengths_N = np.fromiter(map(len, tokens), np.int64, len(tokens))
    ends_N = np.cumsum(lengths_N + 1) - 1
    return " ".join(tokens), np.stack([ends_N - lengths_N, ends_N], axis=1)


def in_characters(entities: Iterable[Span], ranges_N2: Ints) -> list[Span]:
    """Spans of tokens as spans of the characters that :func:`join_tokens` gave them."""
    return [Span(int(ranges_N2[one.start, 0]), int(ranges_N2[one.end - 1, 1]), one.label) for one in entities]


def without_blanks(span: Span, text: str) -> Span:
    """The span without blanks at its ends; an empty one where it covers nothing else."""
    covered = text[span.start : span.end]
    start = span.start + len(covered) - len(covered.lstrip())
    return Span(start, max(start, span.start + len(covered.rstrip())), span.label)


def without_overlaps(spans: Iterable[Span]) -> tuple[list[Span], list[Span]]:
    """Kept and left out, in order: of two spans that share a character the longer one stays, of two equal the first."""
    kept: list[Span] = []
    left_out: list[Span] = []
    for span in sorted(spans, key=lambda one: one.start - one.end):
        place = bisect_left(kept, span.start, key=lambda one: one.start)
        before = place and kept[place - 1].end > span.start
        if before or (place < len(kept) and kept[place].start < span.end):
            left_out.append(span)
        else:
            insort(kept, span)
    return kept, sorted(left_out)
