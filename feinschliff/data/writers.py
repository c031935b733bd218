"""Rows back to files: csv, tsv, jsonl, parquet, conll, compressed where the name says so. All or nothing.

Knows no labels.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow
import pyarrow.parquet
import zstandard

from feinschliff.data.columns import cell_text
from feinschliff.data.conll import conll_lines
from feinschliff.data.delimited import unnamed_columns
from feinschliff.data.encodings import inner_suffix
from feinschliff.data.tables import Cell, Table
from feinschliff.errors import DataError
from feinschliff.results.data import DroppedRow

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet", ".conll")


class RowWriter:
    """A context that writes rows to ``path`` (format by its suffix); the file appears when all went well.

    Text formats are streamed; parquet holds the rows until the end. A csv or tsv of unnamed columns gets no header. Of
    conll the columns are tokens and tags.

    Raises:
        DataError: the suffix is none of ``FORMATS``, the file exists (without ``overwrite``) or cannot be written; or
            rows are to be conll that are not tokens and tags.
    """

    def __init__(self, path: Path, columns: Sequence[str], overwrite: bool = False) -> None:
        self.path, self.columns, self.num_rows = path, list(columns), 0
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._suffix = inner_suffix(path)
        if self._suffix not in FORMATS:
            raise DataError(f"cannot write {self._suffix or 'a file without suffix'}", where=str(path),
                            remedy=f"name a file that ends in {', '.join(FORMATS)}")  # fmt: skip
        if path.exists() and not overwrite:
            raise DataError("the file exists", where=str(path), remedy="name another with --output, or add --overwrite")
        self._held: list[dict[str, Cell]] = []

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[Any] = _open(self._temporary, self.path.suffix.lower(), self._suffix == ".parquet")
        except OSError as error:
            raise DataError("the file cannot be written", where=str(self.path), why=error.strerror,
                            remedy="name another with --output") from error  # fmt: skip
        if self._suffix in (".csv", ".tsv"):
            self._csv = csv.writer(self._file, delimiter="\t" if self._suffix == ".tsv" else ",", lineterminator="\n")
            if self.columns != unnamed_columns(len(self.columns)):
                self._csv.writerow(self.columns)
        return self

    def write(self, cells: Mapping[str, Cell]) -> None:
        """One row; columns that it lacks are empty."""
        self.num_rows += 1
        if self._suffix == ".conll":
            self._file.write(conll_lines(*self._two_lists(cells)))
        elif self._suffix == ".jsonl":
            self._file.write(json.dumps(cells, ensure_ascii=False, default=str) + "\n")
        elif self._suffix == ".parquet":
            self._held.append({name: cells.get(name) for name in self.columns})
        else:
            self._csv.writerow([_as_text(cells.get(name)) for name in self.columns])

    def _two_lists(self, cells: Mapping[str, Cell]) -> tuple[list[str], list[str]]:
        lists = [list(cell) for name in self.columns if isinstance(cell := cells.get(name), list | tuple)]
        if len(self.columns) != 2 or len(lists) != 2:
            raise DataError("the rows cannot be written as CoNLL", where=str(self.path),
                            why=f"they are not a list of tokens and one of tags: {', '.join(self.columns)}",
                            remedy="name a file that ends in .jsonl")  # fmt: skip
        return lists[0], lists[1]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._suffix == ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(self._held), self._file)
        self._file.close()
        if error is None:
            os.replace(self._temporary, self.path)
        else:
            self._temporary.unlink(missing_ok=True)


def _open(path: Path, compression: str, binary: bool) -> IO[Any]:
    raw: Any = gzip.open(path, "wb") if compression == ".gz" else open(path, "wb")  # noqa: SIM115  closed by __exit__
    if compression == ".zst":
        raw = zstandard.ZstdCompressor().stream_writer(raw, closefd=True)
    return raw if binary else io.TextIOWrapper(raw, encoding="utf-8", newline="")


def _as_text(cell: Cell) -> str:
    if isinstance(cell, Mapping) or (isinstance(cell, list | tuple) and any(map(_is_nested, cell))):
        return json.dumps(cell, ensure_ascii=False, default=str)
    if isinstance(cell, list | tuple):
        return "|".join(cell_text(item) for item in cell)
    return cell if isinstance(cell, str) else cell_text(cell)


def _is_nested(item: Cell) -> bool:
    return isinstance(item, Mapping | list | tuple)


def output_format(table: Table) -> str:
    """Suffix for what comes of a source: its own where that can be written, else ``.csv``."""
    suffix = inner_suffix(Path(table.name)) if not table.name.startswith(("hf:", "pypi:")) else ""
    suffix = table.suffix or suffix
    return suffix if suffix in FORMATS else ".jsonl" if suffix in (".ndjson", ".json") else ".csv"


def write_dropped(path: Path, dropped: Iterable[DroppedRow], overwrite: bool = False) -> None:
    """The list of what is not used, and why: csv with file, line, reason, text."""
    with RowWriter(path, ["file", "line", "reason", "text"], overwrite) as writer:
        for row in dropped:
            writer.write(row.model_dump())
