"""Tags of tokens (``B-PER``, ``I-PER``, ``O``) to entities and back, and which scheme the tags of a file follow.

Schemes: IOB1 and IOB2 (Tjong Kim Sang and Veenstra 1999), BIOES and BILOU (Ratinov and Roth 2009), BMES, and IO: plain
names of types. Knows no file format and no characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from feinschliff.data.spans import Span
from feinschliff.errors import DataError
from feinschliff.results.data import Scheme as Scheme

OUTSIDE = "O"
UNTYPED = "_"
"""The type of an entity whose tags are ``B`` and ``I`` alone, as seqeval calls it."""
_PREFIXED = re.compile(r"([BIESLUM])(?:-(.*))?", re.DOTALL)
_AS_BIOES = {"L": "E", "U": "S", "M": "I"}
_LETTERS: dict[Scheme, tuple[str, str, str, str]] = {  # of the first, inner, last and only token
    "IO": ("", "", "", ""),
    "IOB1": ("I", "I", "I", "I"),
    "IOB2": ("B", "I", "I", "B"),
    "BIOES": ("B", "I", "E", "S"),
    "BILOU": ("B", "I", "L", "U"),
    "BMES": ("B", "M", "E", "S"),
}


def is_prefixed(tag: str) -> bool:
    """Whether a tag says where in an entity its token stands: ``B-PER``, ``I``; not ``O``, ``PER``."""
    return _PREFIXED.fullmatch(tag) is not None


def entities(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """The entities of a row as spans of tokens, in order.

    Sequences that break the scheme are read as seqeval's default mode (and conlleval) does: an entity goes on where
    ``I`` or ``E`` follows ``B`` or ``I`` of its type; every other tag but ``O`` begins one.

    Raises:
        DataError: a tag that is none of the scheme.
    """
    found: list[Span] = []
    start, before = 0, ("O", "")
    for place, tag in enumerate(tags):
        now = _parsed(tag, scheme)
        if not _goes_on(before, now):
            if before[0] != "O":
                found.append(Span(start, place, before[1]))
            start = place
        before = now
    if before[0] != "O":
        found.append(Span(start, len(tags), before[1]))
    return found


def tags_of(spans: Iterable[Span], num_tokens: int, scheme: Scheme) -> list[str]:
    """The tags of a row with these entities (spans of tokens, in order, apart from each other).

    IO cannot tell two entities of a type that touch each other; the other schemes lose nothing.
    """
    tags = [OUTSIDE] * num_tokens
    before: Span | None = None
    first, inner, last, only = _LETTERS[scheme]
    for span in spans:
        letters = [first, *[inner] * (span.end - span.start - 2), last] if span.end - span.start > 1 else [only]
        if scheme == "IOB1" and before is not None and (before.end, before.label) == (span.start, span.label):
            letters[0] = "B"
        tags[span.start : span.end] = [_tag(letter, span.label) for letter in letters]
        before = span
    return tags


def tag_names(labels: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """All tags of the types, ``O`` first, then type after type: ``O, B-LOC, I-LOC, B-PER, I-PER``."""
    letters = ("B", "I") if scheme == "IOB1" else tuple(dict.fromkeys(_LETTERS[scheme]))
    return (OUTSIDE, *(_tag(letter, label) for label in labels for letter in letters))


def _tag(letter: str, label: str) -> str:
    if not letter:
        return label
    return letter if label == UNTYPED else f"{letter}-{label}"


def _parsed(tag: str, scheme: Scheme) -> tuple[str, str]:
    """Position in its entity (B, I, E, S, or O for none) and type."""
    if tag == OUTSIDE:
        return "O", ""
    match = _PREFIXED.fullmatch(tag)
    if scheme == "IO":
        return "I", tag
    if match is None:
        raise DataError(f"a tag that is not {scheme}: {tag!r}", remedy="write O, or B- or I- and the type")
    return _AS_BIOES.get(match[1], match[1]), match[2] or UNTYPED


def _goes_on(before: tuple[str, str], now: tuple[str, str]) -> bool:
    return before[0] in ("B", "I") and now[0] in ("I", "E") and before[1] == now[1]


@dataclass(slots=True)
class TagCensus:
    """Which tags follow which, counted over all rows: what the scheme is told by, and how often it is broken."""

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """A tag and the one after it, ``O`` before the first and after the last of a row."""

    def add(self, tags: Sequence[str]) -> None:
        """Count one more row."""
        self.pairs.update(pairwise((OUTSIDE, *tags, OUTSIDE)))

    def _letters(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for (_, tag), count in self.pairs.items():
            match = _PREFIXED.fullmatch(tag)
            counts[match[1] if match else "O" if tag == OUTSIDE else ""] += count
        return counts

    @property
    def scheme(self) -> Scheme:
        """The scheme that the tags fit best.

        Half of the tags without a prefix: IO. ``L``, ``U``: BILOU. ``M`` and no ``I``: BMES. ``E``, ``S``: BIOES. Else
        ``B`` and ``I``: IOB1 where more entities begin with ``I`` than with a ``B`` that IOB1 has no need of.
        """
        letters = self._letters()
        if letters[""] > letters.total() - letters["O"] - letters[""]:
            return "IO"
        if letters["L"] + letters["U"] > letters["E"] + letters["S"]:
            return "BILOU"
        if letters["M"] > letters["I"]:
            return "BMES"
        if letters["E"] + letters["S"]:
            return "BIOES"
        return "IOB1" if self._begun("IOB2", "I") > self._needless_b() else "IOB2"

    def _steps(self, scheme: Scheme) -> Iterable[tuple[tuple[str, str], tuple[str, str], int]]:
        """Position and type of a tag and of the next, and how often; tags that are none of the scheme left out."""
        for (before, now), count in self.pairs.items():
            if scheme == "IO" or all(tag == OUTSIDE or is_prefixed(tag) for tag in (before, now)):
                yield _parsed(before, scheme), _parsed(now, scheme), count

    def _begun(self, scheme: Scheme, positions: str) -> int:
        """Entities that begin with one of the positions."""
        steps = self._steps(scheme)
        return sum(count for before, now, count in steps if now[0] in positions and not _goes_on(before, now))

    def _needless_b(self) -> int:
        return sum(count for before, now, count in self._steps("IOB1") if now[0] == "B" and before[1] != now[1])

    def _unclosed(self, scheme: Scheme) -> int:
        steps = self._steps(scheme)
        return sum(count for before, now, count in steps if before[0] in ("B", "I") and not _goes_on(before, now))

    def labels(self) -> dict[str, int]:
        """Type to number of its entities, the most frequent first."""
        counts: Counter[str] = Counter()
        for before, now, count in self._steps(self.scheme):
            if now[0] != "O" and not _goes_on(before, now):
                counts[now[1]] += count
        return dict(counts.most_common())

    def announcements(self) -> list[str]:
        """What was found, and how often the scheme is broken, in sentences."""
        scheme, labels, letters = self.scheme, self.labels(), self._letters()
        if not labels:
            return ["every tag is O: there are no entities"]
        shown = ", ".join(f"{label} {count:,}" for label, count in list(labels.items())[:8])
        types = f"{len(labels)} types ({shown}{' ...' if len(labels) > 8 else ''})"
        plain = "plain tags (neighbours with one tag are one entity)"
        said = [f"{plain if scheme == 'IO' else scheme + ' tags'}, {sum(labels.values()):,} entities of {types}"]
        closing = scheme in ("BIOES", "BILOU", "BMES")
        broken = {
            "begin without B, and are read as if they had it": 0
            if scheme in ("IO", "IOB1")
            else self._begun(scheme, "IE"),
            f"end without {_LETTERS[scheme][2]}, and are read as if they had it": self._unclosed(scheme)
            if closing
            else 0,
            "begin with a B that IOB1 has no need of": self._needless_b() if scheme == "IOB1" else 0,
        }
        said += [f"{count:,} entities {how}" for how, count in broken.items() if count]
        if scheme != "IO" and letters[""]:
            said.append(f"{letters['']:,} tags are not {scheme}")
        return said
