"""Spans of a text to the tags of a tokenizer's subwords, and back. Knows no tokenizer beyond its offsets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feinschliff.data.spans import Ints, Span, without_blanks
from feinschliff.data.tag_schemes import Scheme, entities, tag_names, tags_of

IGNORED = -100
"""The tag number of tokens without characters; PyTorch's losses leave it out by default."""


@dataclass(frozen=True)
class TagSet:
    """The tags that a model chooses among: types and scheme."""

    labels: tuple[str, ...]
    scheme: Scheme = "IOB2"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The tags; a tag's number is its place here."""
        return tag_names(self.labels, self.scheme)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Tag to its number."""
        return {name: number for number, name in enumerate(self.names)}


@dataclass(frozen=True, slots=True)
class TokenTags:
    """The tags of one row, and what they cannot say."""

    ids_T: Ints
    num_inexact: int
    """Spans with a border inside a token (or cut off with the end of the text): :func:`spans_from_tags` gives back
    what the tokens cover."""
    num_unseen: int
    """Spans that have no token of their own: in a part that was cut off, or inside a token of another span."""


def token_tags(offsets_T2: npt.ArrayLike, spans: Iterable[Span], text: str, tag_set: TagSet) -> TokenTags:
    """Tag numbers of subwords; tokens without characters (special ones, mere blanks) get ``IGNORED``.

    Args:
        offsets_T2: from and up to which character each token goes, as fast tokenizers give it: ascending, (0, 0) for
            special tokens. A blank that a tokenizer counts to the word after it does no harm.
        spans: apart from each other, their labels among those of ``tag_set``.
    """
    ranges_T2 = filled_ranges(offsets_T2, text)
    places = np.flatnonzero(ranges_T2[:, 1] > ranges_T2[:, 0])
    starts, ends = ranges_T2[places, 0], ranges_T2[places, 1]
    taken = num_inexact = num_unseen = 0
    found: list[Span] = []
    for span in sorted(spans):
        first = max(taken, int(np.searchsorted(ends, span.start, "right")))
        taken = max(taken, int(np.searchsorted(starts, span.end, "left")))
        if first >= taken:
            num_unseen += 1
            continue
        found.append(Span(first, taken, span.label))
        num_inexact += (int(starts[first]), int(ends[taken - 1])) != (span.start, span.end)
    ids_T = np.full(len(ranges_T2), IGNORED, dtype=np.int64)
    ids_T[places] = [tag_set.ids[tag] for tag in tags_of(found, len(places), tag_set.scheme)]
    return TokenTags(ids_T, num_inexact, num_unseen)


def spans_from_tags(offsets_T2: npt.ArrayLike, ids_T: Sequence[int] | Ints, text: str, tag_set: TagSet) -> list[Span]:
    """The spans that tag numbers say, in order and apart from each other; ``ids_T`` may hold any sequence of tags.

    Subwords of one entity are joined from its first to its last character, blanks at the ends left out. What tokens
    without characters are tagged with is not looked at.
    """
    ranges_T2 = filled_ranges(offsets_T2, text)
    places = np.flatnonzero(ranges_T2[:, 1] > ranges_T2[:, 0])
    names = [tag_set.names[int(ids_T[place])] for place in places.tolist()]
    spans: list[Span] = []
    for entity in entities(names, tag_set.scheme):
        start, end = int(ranges_T2[places[entity.start], 0]), int(ranges_T2[places[entity.end - 1], 1])
        if spans and start < spans[-1].end:  # several tokens of one character, tagged as two entities
            start = min(spans[-1].end, end)
        span = without_blanks(Span(start, end, entity.label), text)
        if span.start < span.end:
            spans.append(span)
    return spans


def filled_ranges(offsets_T2: npt.ArrayLike, text: str) -> Ints:
    """The tokens' ranges of characters without blanks at their ends, [T, 2]; start = end where nothing is left."""
    ranges_T2 = np.asarray(offsets_T2, dtype=np.int64).reshape(-1, 2)
    if not text:
        return np.zeros_like(ranges_T2)
    filled = ~np.fromiter(map(str.isspace, text), bool, len(text))
    places = np.arange(len(text))
    next_filled = np.minimum.accumulate(np.where(filled, places, len(text))[::-1])[::-1]
    filled_before = np.maximum.accumulate(np.where(filled, places + 1, 0))
    starts, ends = ranges_T2[:, 0], ranges_T2[:, 1]
    first = next_filled[np.minimum(starts, len(text) - 1)]
    last = filled_before[np.clip(ends - 1, 0, len(text) - 1)]
    real = (ends > starts) & (last > first)
    return np.stack([np.where(real, first, starts), np.where(real, last, starts)], axis=1)
