"""Rows whose column ``translation`` holds a text a language, as Hugging Face has them, laid flat. Knows no format."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from feinschliff.data.tables import Row, Table

NAME = "translation"
_SAMPLE_ROWS = 20


def laid_flat(table: Table) -> Table:
    """The same rows with a column a language; a table without such a column stays as it is."""
    if NAME not in table.columns:
        return table
    languages: dict[str, None] = {}
    for row in islice(table.read(), _SAMPLE_ROWS):
        cell = row.cells.get(NAME)
        if not isinstance(cell, dict) or not all(isinstance(text, str) for text in cell.values()):
            return table
        languages.update(dict.fromkeys(cell))
    if len(languages) < 2 or set(languages) & set(table.columns):
        return table
    names = [other for name in table.columns for other in (languages if name == NAME else [name])]
    found = Table(table.name, names, lambda: _rows(table), table.announcements, table.suffix)
    found.announce(f"{table.name}: column {NAME!r} holds {', '.join(languages)}; each is a column of its own")
    return found


def _rows(table: Table) -> Iterator[Row]:
    for row in table.read():
        cells = dict(row.cells)
        inside = cells.pop(NAME, None)
        yield Row({**cells, **(inside if isinstance(inside, dict) else {})}, row.place)
