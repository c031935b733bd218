"""json (an array, or an object that holds one) and jsonl. Every record keeps its line, or its number where lines are
shared. Knows no meaning of a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.data.delimited import checked_lines
from feinschliff.data.encodings import find_encoding, open_text
from feinschliff.data.examples import Place
from feinschliff.data.tables import FaultList, Row, Table, at, kind_of
from feinschliff.errors import DataError

_SAMPLE_RECORDS = 2000
_BLANKS = re.compile(r"[\s,]*")


def open_json_lines(path: Path, name: str, config: DataConfig) -> Table:
    """Open a jsonl file: one object a line, streamed.

    Raises:
        DataError: empty or not text. Lines that are not objects are reported, all at once, when the rows are read.
    """
    encoding = config.encoding or find_encoding(path)
    table = Table(name, [], lambda: iter(()))
    table.read = lambda: _lines(path, encoding, table)
    return _with_columns(table, encoding)


def open_json(path: Path, name: str, config: DataConfig) -> Table:
    """Open a json file: an array of objects, or an object with one. The text is held, its records are streamed.

    Where two records share a line, rows are known by their number in the array instead, and that is said.

    Raises:
        DataError: not json, no array or several, or a record that is not an object.
    """
    encoding = config.encoding or find_encoding(path)
    with open_text(path, encoding) as file:
        text = file.read()
    faults = FaultList()
    for _ in checked_lines(text.splitlines(), encoding, name, faults):
        pass
    faults.raise_if_any()
    start = _start_of_array(text, name)
    if start is None:  # one object a line, named .json, as many exports are
        return open_json_lines(path, name, config)
    numbered = _records_share_lines(text, start)
    table = _with_columns(Table(name, [], lambda: _array(text, start, name, numbered)), encoding)
    if numbered:
        table.announce(f"{name}: several records a line, so the number after the file name counts records, not lines")
    return table


def _with_columns(table: Table, encoding: str) -> Table:
    names: dict[str, None] = {}
    try:
        for row in islice(table.read(), _SAMPLE_RECORDS):
            names.update(dict.fromkeys(row.cells))
    except DataError:  # raised again, with every fault, when all rows are read
        if not names:
            raise
    if not names:
        raise DataError("the file holds no records", where=table.name, remedy="give objects with a text and a label")
    table.columns = list(names)
    table.announce(f"{table.name}: encoding {encoding}, json records with {', '.join(names)}")
    return table


def _lines(path: Path, encoding: str, table: Table) -> Iterator[Row]:
    faults, name, num_blank = FaultList(), table.name, 0
    with open_text(path, encoding) as file:
        for number, line in enumerate(checked_lines(file, encoding, name, faults), 1):
            if not line.strip():
                num_blank += 1
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                faults.add(
                    "not a json object", at(name, number), f"{error.msg} at column {error.colno}", "mend the line"
                )
                continue
            if isinstance(record, dict):
                yield Row(record, Place(name, number))
            else:
                faults.add(f"{kind_of(record)} instead of an object", at(name, number), None,
                           'write {"text": ..., "label": ...}')  # fmt: skip
    faults.raise_if_any()
    if num_blank:
        table.announce(f"{name}: {num_blank:,} blank lines skipped")


def _start_of_array(text: str, name: str) -> int | None:
    """Where the array of records opens; None where the file is really one object a line."""
    begin = len(text) - len(text.lstrip())
    if text[begin : begin + 1] == "[":
        return begin + 1
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[begin : begin + 1] == "{":
            return None
        raise DataError("this is not json", where=at(name, error.lineno), why=f"{error.msg} at column {error.colno}",
                        remedy="mend the file") from error  # fmt: skip
    keys = [key for key, inner in value.items() if isinstance(inner, list)] if isinstance(value, dict) else []
    if len(keys) != 1:
        found = f"arrays: {', '.join(keys)}" if keys else "it holds none"
        raise DataError("a json file must be an array, or an object with one array", where=name, why=found,
                        remedy='write [{"text": ..., "label": ...}, ...]')  # fmt: skip
    match = re.search(re.escape(json.dumps(keys[0], ensure_ascii=False)) + r"\s*:\s*\[", text)
    if match is None:
        raise DataError(f"the array {keys[0]!r} is written with escapes", where=name, remedy="save the array alone")
    return match.end()


def _records(text: str, start: int) -> Iterator[tuple[object, int]]:
    """The values of the array that opens before ``start``, each with its line.

    Raises:
        JSONDecodeError: where the text stops being json; the values before it were given.
    """
    decoder, line, counted, position = json.JSONDecoder(), 1, 0, start
    while True:
        position = _BLANKS.match(text, position).end()  # type: ignore[union-attr]  # the pattern matches nothing too
        line, counted = line + text.count("\n", counted, position), position
        if text[position : position + 1] == "]":
            return
        record, position = decoder.raw_decode(text, position)
        yield record, line


def _records_share_lines(text: str, start: int) -> bool:
    """Whether two records stand on one line, so that lines do not tell them apart."""
    before = 0
    try:
        for _, line in _records(text, start):
            if line == before:
                return True
            before = line
    except json.JSONDecodeError:  # told with the other faults when the rows are read
        pass
    return False


def _array(text: str, start: int, name: str, numbered: bool) -> Iterator[Row]:
    faults = FaultList()
    try:
        for number, (record, line) in enumerate(_records(text, start), 1):
            place = Place(name, number if numbered else line)
            if isinstance(record, dict):
                yield Row(record, place)
            else:
                faults.add(f"{kind_of(record)} instead of an object", at(name, place.line), None,
                           'write {"text": ..., "label": ...}')  # fmt: skip
    except json.JSONDecodeError as error:
        faults.add("this is not json", at(name, error.lineno), f"{error.msg} at column {error.colno}", "mend the file")
    faults.raise_if_any()
