"""Rows to examples: texts and labels taken from their columns; what cannot be used is dropped with a reason.

Knows no file format and no splits.
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from feinschliff.data.columns import cell_labels, cell_text, is_missing
from feinschliff.data.examples import Example
from feinschliff.data.numbers import number
from feinschliff.data.tables import FaultList, Row, Table, at
from feinschliff.errors import DataError, Fault
from feinschliff.results.data import ColumnsFound, DroppedRow

SHOWN_CHARACTERS = 120
_SAYS = " (it says "


@dataclass(slots=True)
class RowReader(ABC):
    """Rows to examples; what cannot be used is noted, never lost."""

    columns: ColumnsFound
    needs_labels: bool = True
    """False: to predict; targets are taken where they are."""
    dropped: list[DroppedRow] = field(default_factory=list)
    num_rows: int = 0
    """Rows looked at so far, used or not."""

    def read(self, rows: Iterable[Row]) -> Iterator[Example]:
        """Stream the examples; rows that cannot be used are noted in ``dropped``."""
        for row in rows:
            example = self.example(row)
            if example is not None:
                yield example

    @abstractmethod
    def example(self, row: Row) -> Example | None:
        """One row's example; None, and noted, where it cannot be used."""
        ...

    def announcements(self) -> list[str]:
        """What was left out or repaired, in sentences."""
        return [f"{count:,} rows dropped: {reason}" for reason, count in count_reasons(self.dropped).items()]


@dataclass(slots=True)
class ExampleReader(RowReader):
    """Turns rows into examples and keeps count of what it leaves out or repairs."""

    num_trimmed_labels: int = 0

    def example(self, row: Row) -> Example | None:
        """One row's example; None, and noted, where it cannot be used."""
        columns, cells, place = self.columns, row.cells, self.num_rows
        self.num_rows += 1
        texts = tuple(cell_text(cells.get(name)) for name in columns.text)
        labels: tuple[str, ...] = ()
        if columns.values:
            return self._with_values(row, texts, place)
        if columns.target is not None:
            cell = cells.get(columns.target)
            labels = cell_labels(cell, columns.label_separator)
            self.num_trimmed_labels += isinstance(cell, str) and cell != cell.strip() and bool(labels)
        if not all(texts):
            missing = columns.text[texts.index("")]
            self._drop(row, f"no text in column {missing!r}{_shown(cells.get(missing))}", texts)
        elif self.needs_labels and not labels and not self._is_empty_list(cells):
            self._drop(row, f"no label in column {columns.target!r}{_shown(cells.get(columns.target or ''))}", texts)
        else:
            return Example(texts, labels, row.place, *group_and_time(row, columns), place)
        return None

    def _with_values(self, row: Row, texts: tuple[str, ...], place: int) -> Example | None:
        """A row with numbers to be predicted; one of several may be missing."""
        cells, names = row.cells, self.columns.values
        found = [number(cells.get(name)) for name in names]
        wrong = [
            name
            for name, value in zip(names, found, strict=True)
            if value is None and not is_missing(cells.get(name)) and self.needs_labels
        ]
        if not all(texts):
            missing = self.columns.text[texts.index("")]
            self._drop(row, f"no text in column {missing!r}{_shown(cells.get(missing))}", texts)
        elif wrong:
            self._drop(row, f"no number in column {wrong[0]!r} (it says {str(cells.get(wrong[0]))[:40]!r})", texts)
        elif self.needs_labels and all(value is None for value in found):
            self._drop(row, f"no number in column {names[0]!r}{_shown(cells.get(names[0]))}", texts)
        else:
            values = tuple(math.nan if value is None else value for value in found)
            return Example(texts, (), row.place, *group_and_time(row, self.columns), place, values)
        return None

    def _is_empty_list(self, cells: object) -> bool:
        """Whether the row says that none of several possible labels applies."""
        cell = cells.get(self.columns.target) if isinstance(cells, dict) else None
        return self.columns.kind == "multi_label" and isinstance(cell, list | tuple) and not cell

    def _drop(self, row: Row, reason: str, texts: Sequence[str]) -> None:
        self.dropped.append(dropped_row(Example(tuple(texts), (), row.place), reason))

    def announcements(self) -> list[str]:
        """What was left out or repaired, in sentences."""
        said = [f"{count:,} rows dropped: {reason}" for reason, count in count_reasons(self.dropped).items()]
        if self.num_trimmed_labels:
            said.append(f"blanks around {self.num_trimmed_labels:,} labels removed")
        return said


def group_and_time(row: Row, columns: ColumnsFound) -> tuple[str | None, str | None]:
    """What a split goes by; None where nothing is there."""
    group, time = (cell_text(row.cells.get(name)) if name else "" for name in (columns.group, columns.time))
    return group or None, time or None


def _shown(cell: object) -> str:
    return f" (it says {str(cell).strip()!r})" if cell is not None and is_missing(cell) and str(cell).strip() else ""


def dropped_row(example: Example, reason: str) -> DroppedRow:
    """The record of a row that is not used."""
    text = " | ".join(example.texts)[:SHOWN_CHARACTERS]
    return DroppedRow(file=example.place.file, line=example.place.line, reason=reason, text=text)


def count_reasons(dropped: Iterable[DroppedRow]) -> dict[str, int]:
    """Reason (without what follows a colon: other rows' places) to number of rows; of what cells say, three."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for row in dropped:
        groups.setdefault(reason_kind(row.reason), []).append(row.reason)
    return {one_reason(reasons): len(reasons) for reasons in groups.values()}


def reason_kind(reason: str) -> tuple[str, bool]:
    """What a reason shares with those of other rows, and whether it also says what stands in the cell."""
    kind, says, _ = reason.partition(_SAYS)
    return kind.split(":")[0], bool(says)


def one_reason(reasons: Sequence[str]) -> str:
    """Reasons of one kind as one, with what up to three of them say."""
    kind, says = reason_kind(reasons[0])
    said = list(dict.fromkeys(reason.partition(_SAYS)[2].removesuffix(")") for reason in reasons))
    return f"{kind}{_SAYS}{', '.join(said[:3])}{' ...' if said[3:] else ''})" if says else kind


OTHER_FILES = "the other files have it"


def check_table_columns(
    tables: Sequence[Table], columns: ColumnsFound, needs_labels: bool = True, why: str = OTHER_FILES
) -> None:
    """Refuse tables that lack a column which is needed; ``why`` it is.

    Raises:
        DataError: every missing column of every table.
    """
    targets = columns.values or ([columns.target] if columns.target else [])
    texts = columns.text[:2] if columns.kind == "pairs" else columns.text  # a row needs no negatives
    needed = [*texts, *columns.numbers, *(targets if needs_labels else [])]
    needed += [name for name in (columns.group, columns.time) if name and needs_labels]
    faults = []
    for table in tables:
        for name in needed:
            if name not in table.columns:
                free = [column for column in table.columns if column not in needed]
                near = difflib.get_close_matches(name, free, n=1, cutoff=0.5)
                hint = f"rename {near[0]!r} to {name!r}" if near else f"its columns: {', '.join(table.columns)}"
                faults.append(Fault(f"there is no column {name!r}", table.name, why, hint))
    if faults:
        raise DataError(faults)


def say_unknown_types(examples: Iterable[Example], known: Collection[str]) -> list[str]:
    """How many spans of held-out rows are of types that cannot have been learned; they are judged all the same."""
    counts = Counter(span.label for example in examples for span in example.spans if span.label not in known)
    shown = ", ".join(f"{label} {count:,}" for label, count in counts.most_common(5))
    more = " ..." if len(counts) > 5 else ""
    said = f"{counts.total():,} entities of types that no training row has ({shown}{more}): they count as missed"
    return [said] if counts else []


def refuse_unknown_labels(examples: Iterable[Example], known: Collection[str], why: str) -> None:
    """Refuse labels that cannot have been learned.

    Raises:
        DataError: every such label, with its rows and the nearest known one.
    """
    places: dict[str, list[str]] = {}
    for example in examples:
        for label in example.labels:
            if label not in known:
                places.setdefault(label, []).append(at(example.place.file, example.place.line))
    faults = FaultList()
    for label, rows in sorted(places.items()):
        near = difflib.get_close_matches(label.casefold().strip(), [name.casefold() for name in known], n=1, cutoff=0.6)
        nearest = next((name for name in sorted(known) if near and name.casefold() == near[0]), None)
        remedy = f"write it {nearest!r}" if nearest else "correct it, remove the rows, or add training rows with it"
        also = (
            f" ({len(rows):,} rows, also {', '.join(rows[1:5])}{' ...' if len(rows) > 5 else ''})" if rows[1:] else ""
        )
        faults.add(f"unknown label {label!r}{also}", rows[0], why, remedy)
    faults.raise_if_any()
