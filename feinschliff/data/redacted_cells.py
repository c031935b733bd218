"""Rows of a table without the personal data that was found in them, in the form they came in. Knows no file format.

A row is redacted as a whole, columns that are not learned too. Left as they are: labels, numbers, images, tools, and
what rows are grouped or ordered by, because other values would make other groups.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from feinschliff.data.conversation_columns import FUNCTIONS, TOOLS
from feinschliff.data.examples import Example
from feinschliff.data.message_lists import parsed
from feinschliff.data.personal_data import find, said, texts_of
from feinschliff.data.redaction import is_json, redact_value
from feinschliff.data.tables import Cell
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound

_PLACED = ("spans", "answers")
_LABELLED = ("single_label", "multi_label", "values")


@dataclass(slots=True)
class CellRedactor:
    """Cleans rows one by one and counts.

    Raises:
        DataError: the rows have spans or answers: places in a text would no longer be right.
    """

    columns: ColumnsFound
    counts: Counter[str] = field(default_factory=Counter)
    """Kind (see ``personal_data.KINDS``) -> how often it was replaced."""
    num_rows: int = 0
    """Rows in which something was replaced."""
    beside: dict[str, Counter[str]] = field(default_factory=dict)
    """The same as ``counts`` for each column that is not learned."""

    def __post_init__(self) -> None:
        if self.columns.kind in _PLACED:
            raise DataError(
                f"rows with {self.columns.kind} cannot be written without personal data",
                where="--redact",
                why="their places are characters of the text, or its tokens, and would no longer be right",
                remedy="leave it out: a run moves them along (`--redact` of tune and train)",
            )

    def clean(self, cells: Mapping[str, Cell]) -> dict[str, Cell]:
        """The row with each find replaced by its kind in brackets."""
        kept, found = self._kept(), Counter[str]()
        clean: dict[str, Cell] = {}
        for name, cell in cells.items():
            here: Counter[str] = Counter()
            clean[name] = cell if name in kept else _redacted(cell, here)
            found += here
            if here and name not in self._learned():
                self.beside.setdefault(name, Counter()).update(here)
        self.counts += found
        self.num_rows += bool(found)
        return clean

    def announcements(self) -> list[str]:
        """What was replaced, in sentences."""
        if not self.counts:
            return ["no personal data was found"]
        told = [f"personal data replaced in {self.num_rows:,} rows: {said(self.counts)}"]
        return told + [f"also in column {name!r}, which is not learned: {said(counts)}"
                       for name, counts in self.beside.items()]  # fmt: skip

    def _learned(self) -> set[str | None]:
        return {*self.columns.text, *self.columns.parts.values(), self.columns.target}

    def _kept(self) -> set[str | None]:
        columns = self.columns
        kept = {columns.group, columns.time, columns.image, columns.parts.get(TOOLS), columns.parts.get(FUNCTIONS)}
        return kept | {*columns.numbers, *columns.values, columns.target if columns.kind in _LABELLED else None}


def holds_personal_data(example: Example) -> bool:
    """Whether anything is left: cells are cleaned one by one, and a find may lie across two parts of a message."""
    return any(find(text) for text in texts_of(example))


def _redacted(cell: Cell, counts: Counter[str]) -> Cell:
    """A list as Python writes it becomes JSON, where anything in it was replaced."""
    value = parsed(cell)
    if value is cell or (isinstance(cell, str) and is_json(cell)):
        return redact_value(cell, counts)
    before = counts.total()
    clean = redact_value(value, counts)
    return cell if counts.total() == before else json.dumps(clean, ensure_ascii=False, default=str)
