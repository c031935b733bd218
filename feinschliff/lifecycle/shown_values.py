"""Rows to show as they are read: what the columns say that a run would read. Knows no tokenizer."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import cell_text
from feinschliff.data.redacted_cells import CellRedactor
from feinschliff.data.row_kinds import reader_of
from feinschliff.data.rows_to_examples import count_reasons
from feinschliff.data.sources import read_tables
from feinschliff.data.tables import Cell, Table
from feinschliff.errors import DataError, Fault
from feinschliff.results.data import ColumnsFound
from feinschliff.results.tokens import PlainRow

_NEAR_LINES = 3


def plain_rows(
    tables: Sequence[Table], columns: ColumnsFound, config: DataConfig, num_rows: int, lines: Sequence[int]
) -> tuple[list[PlainRow], int, dict[str, int]]:
    """Some rows (the first, or those at ``lines``), how many there are, and why a run leaves how many of them out.

    Raises:
        DataError: files that cannot be read, or no row stands at one of the lines.
    """
    needs_target = bool(columns.target or columns.values or columns.kind in ("pairs", "texts"))
    reader = reader_of(columns, needs_target)
    redactor = CellRedactor(columns) if config.redact else None
    shown: list[PlainRow] = []
    places: set[int] = set()
    for row in read_tables(tables):
        example = reader.example(row)
        places.add(row.place.line)
        if row.place.line in lines if lines else reader.num_rows <= num_rows:
            values = _values(redactor.clean(row.cells) if redactor else row.cells, columns)
            if columns.image is not None and example is not None:
                values[columns.image] = example.texts[0]
            note = "" if example is not None else f"left out: {reader.dropped[-1].reason}"
            shown.append(PlainRow(file=row.place.file, line=row.place.line, values=values, note=note))
    refuse_other_lines(lines, places, tables)
    return shown, reader.num_rows, count_reasons(reader.dropped)


def refuse_other_lines(lines: Sequence[int], known: Collection[int], tables: Sequence[Table]) -> None:
    """Raises DataError for every line at which no row stands, with the nearest ones at which one does."""
    faults = []
    for line in [line for line in lines if line not in known]:
        near = sorted(sorted(set(known), key=lambda place: (abs(place - line), place))[:_NEAR_LINES])
        where = ", ".join(table.name for table in tables)
        remedy = f"name another, such as {', '.join(f'--line {place}' for place in near)}"
        faults.append(Fault(f"no row begins at line {line}", where, remedy=remedy))
    if faults:
        raise DataError(faults)


def _values(cells: Mapping[str, Cell], columns: ColumnsFound) -> dict[str, str]:
    """What a run reads of a row: texts, numbers and targets by their columns."""
    named = [*columns.text, *columns.numbers, *columns.parts.values(), *columns.values, columns.target, columns.group]
    return {name: _said(cells.get(name)) for name in dict.fromkeys(named) if name not in (None, columns.image)}


def _said(cell: Cell) -> str:
    if isinstance(cell, Mapping | list | tuple):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return cell if isinstance(cell, str) else cell_text(cell)
