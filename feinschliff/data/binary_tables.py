"""parquet and Excel. A row's place is its number in the file or in the sheet. Knows no meaning of a column."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import openpyxl
import pyarrow
import pyarrow.parquet
from openpyxl.utils.exceptions import InvalidFileException

from feinschliff.config.data import DataConfig
from feinschliff.data.delimited import header_names, looks_like_header, unnamed_columns
from feinschliff.data.encodings import COMPRESSIONS, open_bytes
from feinschliff.data.examples import Place
from feinschliff.data.tables import Cell, FaultList, Row, Table, at
from feinschliff.errors import DataError

_ROWS_A_BATCH = 4096
_ROWS_OF_BYTES = 64
"""Rows with images are large."""


def open_parquet(path: Path, name: str, config: DataConfig) -> Table:
    """Open a parquet file; rows are streamed in batches.

    Raises:
        DataError: not parquet, no rows, or a column name twice.
    """
    try:
        file = pyarrow.parquet.ParquetFile(_seekable(path))
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError("this is not a readable parquet file", where=name, why=str(error).splitlines()[0],
                        remedy="write it again") from error  # fmt: skip
    if file.metadata.num_rows == 0:
        raise DataError("the file holds no rows", where=name, remedy="give a file with rows")
    columns = header_names(file.schema_arrow.names, name)
    said = [f"{name}: parquet, {file.metadata.num_rows:,} rows, columns {', '.join(columns)}"]
    return Table(name, columns, lambda: _parquet_rows(path, name), said)


def _seekable(path: Path) -> Path | IO[bytes]:
    """The file itself, or its decompressed bytes: both formats are read from their end."""
    if path.suffix.lower() not in COMPRESSIONS:
        return path
    with open_bytes(path) as file:
        return io.BytesIO(file.read())


def _parquet_rows(path: Path, name: str) -> Iterator[Row]:
    number = 0
    file = pyarrow.parquet.ParquetFile(_seekable(path))
    rows = _ROWS_OF_BYTES if "binary" in str(file.schema_arrow) else _ROWS_A_BATCH
    for batch in file.iter_batches(rows):
        for record in batch.to_pylist():
            number += 1
            yield Row({column: _plain(cell) for column, cell in record.items()}, Place(name, number))


def _plain(cell: Cell) -> Cell:
    return cell.isoformat() if isinstance(cell, datetime.date | datetime.time) else cell


def open_excel(path: Path, name: str, config: DataConfig) -> Table:
    """Open the first sheet of a workbook.

    Raises:
        DataError: not a workbook, an empty sheet, or a header with a name twice.
    """
    try:
        book = openpyxl.load_workbook(_seekable(path), read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, OSError) as error:
        raise DataError("this is not a readable Excel workbook", where=name, why=str(error).splitlines()[0],
                        remedy="save it as .xlsx or .csv") from error  # fmt: skip
    names = list(book.sheetnames)
    book.close()
    sample = [cells for _, cells in zip(range(200), _sheet(path), strict=False)]
    if not sample:
        raise DataError(f"the sheet {names[0]!r} is empty", where=name, remedy="put the rows into the first sheet")
    texts = [["" if cell is None else str(cell) for cell in cells] for _, cells in sample]
    has_header = config.header == "yes" or (config.header == "auto" and looks_like_header(texts[0], texts[1:]))
    first = sample[0][1]
    columns = header_names(first, name) if has_header else unnamed_columns(len(first))
    said = [f"{name}: sheet {names[0]!r}, columns {', '.join(columns)}"]
    if len(names) > 1:
        said.append(f"{name}: the other sheets are not read: {', '.join(names[1:])}")
    table = Table(name, columns, lambda: iter(()), said)
    table.read = lambda: _excel_rows(path, table, has_header)
    return table


def _sheet(path: Path) -> Iterator[tuple[int, list[Cell]]]:
    """Row number and cells of each row that holds something; empty cells at its end are cut off."""
    book = openpyxl.load_workbook(_seekable(path), read_only=True, data_only=True)
    try:
        for number, values in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
            cells: list[Cell] = [_plain(value) for value in values]
            while cells and cells[-1] is None:
                cells.pop()
            if cells:
                yield number, cells
    finally:
        book.close()


def _excel_rows(path: Path, table: Table, has_header: bool) -> Iterator[Row]:
    faults, name, columns = FaultList(), table.name, table.columns
    num_blank = last = 0
    for index, (number, cells) in enumerate(_sheet(path)):
        num_blank += number - last - 1  # those below the last row are mere formatting
        last = number
        if index == 0 and has_header:
            continue
        if len(cells) > len(columns):
            faults.add(f"{len(cells)} cells instead of {len(columns)} ({', '.join(columns)})", at(name, number),
                       f"beyond the last column stands {cells[len(columns)]!r}",
                       "clear those cells or name the column")  # fmt: skip
            continue
        padded = cells + [None] * (len(columns) - len(cells))
        yield Row(dict(zip(columns, padded, strict=True)), Place(name, number))
    faults.raise_if_any()
    if num_blank:
        table.announce(f"{name}: {num_blank:,} blank rows skipped")
