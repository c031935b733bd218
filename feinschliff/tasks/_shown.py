"""A row as reports and answers show it. Knows no task."""

from __future__ import annotations

from feinschliff.data.examples import Example
from feinschliff.results.data import RowRef

SHOWN_CHARACTERS = 300


def joined(example: Example) -> str:
    """The text, or both of a pair."""
    return " ⟂ ".join(example.texts)


def row_ref(example: Example) -> RowRef:
    """The row's place and the beginning of its text."""
    return RowRef(file=example.place.file, line=example.place.line, text=joined(example)[:SHOWN_CHARACTERS])
