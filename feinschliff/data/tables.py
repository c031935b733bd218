"""What every reader gives: a table of rows with their places; and a list that collects faults.

Knows no file format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from feinschliff.data.examples import Place
from feinschliff.errors import DataError, Fault

MAX_FAULTS_SHOWN = 20
Cell = object
"""A cell as its format gives it: text (csv), or text, number, truth value, list, None (json, parquet, Excel)."""


_KINDS: dict[type, str] = {
    str: "a text",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    bytes: "bytes",
    type(None): "nothing (null)",
}


def kind_of(cell: Cell) -> str:
    """What a cell is, in words: ``a number``."""
    return _KINDS.get(type(cell), f"a {type(cell).__name__}")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: column name to cell, and where it stands."""

    cells: Mapping[str, Cell]
    place: Place


@dataclass(slots=True)
class Table:
    """One file (or set of a hub), opened: its columns are known, its rows are read when asked for, again and again."""

    name: str
    columns: list[str]
    read: Callable[[], Iterator[Row]]
    """Streams the rows from the start; raises one DataError with all faults of the file when it reaches the end."""
    announcements: list[str] = field(default_factory=list)
    """What was found out about the file (encoding, delimiter, header ...)."""
    suffix: str = ""
    """The format that rows of this table are written again in, where the name of its file does not say so."""

    def announce(self, note: str) -> None:
        """Say something once: what a reader finds out while it reads, it finds out again whenever it reads again."""
        if note not in self.announcements:
            self.announcements.append(note)


class FaultList:
    """Collects the faults of one file; the first ones are shown, the others counted."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.num_faults = 0

    def add(self, what: str, where: str, why: str | None = None, remedy: str | None = None) -> None:
        """Note a fault; beyond the first ``MAX_FAULTS_SHOWN`` only the number is kept."""
        self.num_faults += 1
        if len(self.faults) < MAX_FAULTS_SHOWN:
            self.faults.append(Fault(what, where, why, remedy))

    def raise_if_any(self) -> None:
        """Raise what was collected.

        Raises:
            DataError: with every fault noted, or the first ones and the number of the others.
        """
        if not self.faults:
            return
        hidden = self.num_faults - len(self.faults)
        more = [
            Fault(
                f"... and {hidden:,} more", self.faults[-1].where.rsplit(":", 1)[0] if self.faults[-1].where else None
            )
        ]
        raise DataError(self.faults + (more if hidden else []))


def at(file: str, line: int) -> str:
    """``file:line`` as editors and terminals understand it."""
    return f"{file}:{line}"
