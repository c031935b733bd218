"""csv and tsv: delimiter, quoting and header are found, rows keep their line. Knows no meaning of a column."""

from __future__ import annotations

import _csv
import csv
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import KNOWN_NAMES
from feinschliff.data.encodings import INVALID_END, INVALID_START, find_encoding, inner_suffix, open_text
from feinschliff.data.examples import Place
from feinschliff.data.tables import FaultList, Row, Table, at
from feinschliff.errors import DataError

DELIMITERS = (",", "\t", ";", "|")
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_SAMPLE_LINES, _SAMPLE_CHARACTERS = 2000, 1 << 20
_REGULAR_WITHOUT_QUOTES = 0.98
"""Share of regular lines from which quotes may be ordinary characters; below it, a quote is more likely wrong."""
_INVALID = re.compile(f"{INVALID_START}([0-9a-f]*){INVALID_END}")
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How cells are told apart. ``quoted``: double quotes enclose cells; otherwise they are ordinary characters."""

    delimiter: str
    quoted: bool

    def reader(self, lines: Iterable[str]) -> _csv.Reader:
        """A strict reader: a wrong quote is an error, not a guess."""
        if self.quoted:
            return csv.reader(lines, delimiter=self.delimiter, strict=True)
        return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=True)


def open_delimited(path: Path, name: str, config: DataConfig) -> Table:
    """Open a csv or tsv file.

    Raises:
        DataError: empty, not text, a header with a name twice, or a delimiter of several characters.
    """
    if config.delimiter and len(config.delimiter) > 1:
        raise DataError(f"the delimiter {config.delimiter!r} is not one character", where=name,
                        why="cells are told apart by a single character",
                        remedy="give one (a tab: $'\\t' in the shell), or leave it out: it is found")  # fmt: skip
    encoding = config.encoding or find_encoding(path)
    with open_text(path, encoding) as file:
        lines, complete = _sample(file)
    delimiters = (config.delimiter,) if config.delimiter else DELIMITERS
    dialect = find_dialect(lines, complete, delimiters, "\t" if inner_suffix(path) in (".tsv", ".tab") else ",")
    records = [record for record in _sample_records(lines, dialect, complete) if record]
    if not records:
        raise DataError("the file holds no rows", where=name, remedy="give a file with a header and rows")
    has_header = config.header == "yes" or (config.header == "auto" and looks_like_header(records[0], records[1:]))
    columns = (
        header_names(records[0], name)
        if has_header
        else unnamed_columns(Counter(map(len, records)).most_common(1)[0][0])
    )
    table = Table(name, columns, lambda: iter(()))
    table.read = lambda: _rows(path, encoding, dialect, has_header, table)
    table.announcements = _announcements(encoding, dialect, has_header, columns, name)
    return table


def unnamed_columns(num_columns: int) -> list[str]:
    """Names for columns of a file without a header: ``column_1`` ..."""
    return [f"column_{number}" for number in range(1, num_columns + 1)]


def header_names(cells: Sequence[object], name: str) -> list[str]:
    """Column names of a header; an empty cell (the index that pandas writes) becomes ``column_N``.

    Raises:
        DataError: a name stands twice; all such names at once.
    """
    names = [str("" if cell is None else cell).strip() or f"column_{number}" for number, cell in enumerate(cells, 1)]
    faults = FaultList()
    for column, count in Counter(names).items():
        if count > 1:
            positions = ", ".join(str(number) for number, other in enumerate(names, 1) if other == column)
            faults.add(f"the header names {column!r} {count} times", at(name, 1), f"columns {positions}",
                       "give each column its own name")  # fmt: skip
    faults.raise_if_any()
    return names


def _announcements(encoding: str, dialect: Dialect, has_header: bool, columns: list[str], name: str) -> list[str]:
    delimiter = _NAMES.get(dialect.delimiter, repr(dialect.delimiter))
    quotes = "" if dialect.quoted else ", quotes are ordinary characters"
    header = f"{'header' if has_header else 'no header, columns named'} {', '.join(columns)}"
    return [f"{name}: encoding {encoding}, delimiter {delimiter}{quotes}, {header}"]


def _sample(lines: Iterable[str]) -> tuple[list[str], bool]:
    """The first lines, whole, and whether that was the whole file."""
    taken: list[str] = []
    size = 0
    for line in lines:
        if len(taken) >= _SAMPLE_LINES or size > _SAMPLE_CHARACTERS:
            return taken, False
        taken.append(line)
        size += len(line)
    return taken, True


def _sample_records(lines: list[str], dialect: Dialect, complete: bool) -> list[list[str] | None]:
    """Records of the sample, None where one is malformed; a last one that the sample cut is left out."""
    reader = dialect.reader(lines)
    records: list[list[str] | None] = []
    while True:
        try:
            records.append(next(reader))
        except StopIteration:
            return records
        except csv.Error:
            if complete or reader.line_num < len(lines):
                records.append(None)


def find_dialect(lines: list[str], complete: bool, delimiters: Sequence[str], usual: str) -> Dialect:
    """The dialect under which most lines have the same number of cells, at least two.

    Quotes enclose cells unless the file is more regular when they are ordinary characters (tab-separated text with
    stray quotes, as GoEmotions has it).
    """
    best, best_score = Dialect(usual if usual in delimiters else delimiters[0], True), (0.0, False, False)
    for delimiter in delimiters:
        for quoted in (True, False):
            dialect = Dialect(delimiter, quoted)
            records = [record for record in _sample_records(lines, dialect, complete) if record != []]
            counts = Counter(len(record) for record in records if record is not None)
            num_cells, num_regular = counts.most_common(1)[0] if counts else (0, 0)
            if num_cells < 2 or (not quoted and num_regular < _REGULAR_WITHOUT_QUOTES * len(records)):
                continue
            merged = quoted and _merges_regular_lines(lines, delimiter, len(records))
            score = (num_regular / len(records) - merged, delimiter == usual, quoted)
            if score > best_score:
                best, best_score = dialect, score
    return best


def _merges_regular_lines(lines: list[str], delimiter: str, num_records: int) -> bool:
    """Whether quotes swallow line ends although each line is complete without them."""
    filled = [line for line in lines if line.strip("\r\n")]
    return num_records < len(filled) and len({line.count(delimiter) for line in filled}) == 1


def looks_like_header(first: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns: by well-known names, else by how it differs from those below."""
    cells = [cell.strip() for cell in first]
    if any(cell.casefold().replace(" ", "_") in KNOWN_NAMES for cell in cells):
        return True
    below = [[row[index].strip() for row in others if len(row) == len(first)] for index in range(len(cells))]
    evidence = [_header_evidence(cell, column) for cell, column in zip(cells, below, strict=True)]
    return sum(evidence) > 0 and -2 not in evidence


def _header_evidence(cell: str, column: list[str]) -> int:
    """Above 0: this cell names its column; below 0: it is one of its values (-2: surely)."""
    if not cell or not column:
        return 0
    numeric_below = sum(_is_number(value) for value in column) > 0.9 * len(column)
    if _is_number(cell):
        return -2 if numeric_below else 1
    if cell in column or len(cell) > 60 or cell[-1] in ".!?":
        return -2
    if numeric_below:
        return 2
    return 1 if len(cell) < statistics.median(map(len, column)) and len(cell.split()) <= 3 else 0


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", text) is not None


def _rows(path: Path, encoding: str, dialect: Dialect, has_header: bool, table: Table) -> Iterator[Row]:
    faults = FaultList()
    num_blank = 0
    with open_text(path, encoding) as file:
        reader = dialect.reader(checked_lines(file, encoding, table.name, faults))
        awaiting_header, last_line = has_header, 0
        while True:
            start = last_line + 1
            try:
                record = next(reader, None)
            except csv.Error as error:
                last_line = reader.line_num
                _add_quote_fault(faults, table.name, start, last_line, error)
                continue
            if record is None:
                break
            last_line = reader.line_num
            if not record:
                num_blank += 1
            elif awaiting_header:
                awaiting_header = False
            elif len(record) != len(table.columns):
                _add_ragged_fault(faults, table, start, record)
            else:
                yield Row(dict(zip(table.columns, record, strict=True)), Place(table.name, start))
    faults.raise_if_any()
    if num_blank:
        table.announce(f"{table.name}: {num_blank:,} blank lines skipped")


def _add_ragged_fault(faults: FaultList, table: Table, line: int, record: list[str]) -> None:
    expected = f"{len(table.columns)} ({', '.join(table.columns)})"
    faults.add(f"{len(record)} cells instead of {expected}", at(table.name, line),
               f"the row begins {' | '.join(record)[:60]!r}",
               "put cells that contain the delimiter or a line end in double quotes")  # fmt: skip


def _add_quote_fault(faults: FaultList, name: str, start: int, end: int, error: csv.Error) -> None:
    unclosed = "unexpected end" in str(error)
    faults.add("a double quote is opened and never closed" if unclosed else f"a wrong double quote ({error})",
               at(name, start), f"read up to line {end}" if end > start else None,
               'write a quote inside a cell as two ("") and enclose the cell in quotes')  # fmt: skip


def checked_lines(lines: Iterable[str], encoding: str, name: str, faults: FaultList) -> Iterator[str]:
    """Pass lines on; note those with bytes that the encoding does not know."""
    for number, line in enumerate(chain(lines), 1):
        if INVALID_START in line:
            found = _INVALID.findall(line)
            shown = " ".join(f"0x{digits.upper()}" for digits in found[:3])
            faults.add(f"bytes that are not {encoding}: {shown}", at(name, number), None,
                       "mend it, or name the encoding: --encoding cp1252 (tune, train: --data.encoding)")  # fmt: skip
        if "\0" in line:
            faults.add("a NUL byte", at(name, number), None, "remove it")
            line = line.replace("\0", "")
        yield line
