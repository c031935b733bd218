"""A cleaned copy of labelled texts: rows that cannot be used left out, labels written in one way. Nothing uncounted.

Streamed in two passes; per row a hash is held, and the list of dropped rows. Knows no file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import cell_labels, cell_text, is_missing
from feinschliff.data.examples import Example, target_of
from feinschliff.data.image_rows import cells_beside
from feinschliff.data.label_quality import spellings
from feinschliff.data.load import open_with_columns
from feinschliff.data.redacted_cells import CellRedactor, holds_personal_data
from feinschliff.data.redaction import redact_dropped
from feinschliff.data.row_kinds import reader_of
from feinschliff.data.rows_to_examples import count_reasons, dropped_row
from feinschliff.data.sources import read_tables
from feinschliff.data.tables import Cell, Row, Table
from feinschliff.data.writers import RowWriter, output_format, write_dropped
from feinschliff.errors import DataError
from feinschliff.results.data import CleanResult, ColumnsFound, DroppedRow


@dataclass(slots=True)
class _Cleaner:
    """Decides about each row; the same rows in the same order give the same decisions."""

    columns: ColumnsFound
    keep_duplicates: bool
    changes: Mapping[str, str]
    too_small: frozenset[str]
    redactor: CellRedactor | None = None
    dropped: list[DroppedRow] = field(default_factory=list)
    num_changed_labels: int = 0

    def rows(self, tables: Sequence[Table]) -> Iterator[tuple[dict[str, Cell], Example]]:
        """The rows that stay, with their labels as they are to be written."""
        reader = reader_of(self.columns)
        reader.dropped = self.dropped
        first: dict[bytes, str] = {}
        for row in read_tables(tables):
            cells = self._respelled(row)
            if self.redactor is not None:
                cells = self.redactor.clean(cells)
            example = reader.example(Row(cells, row.place))
            if example is None:
                continue
            if self.redactor is not None and holds_personal_data(example):
                self.dropped.append(dropped_row(example, "personal data lies across parts of a text"))
                continue
            small = [label for label in example.labels if label in self.too_small]
            place = f"{row.place.file}:{row.place.line}"
            if small:
                self.dropped.append(dropped_row(example, f"the class has too few rows: {small[0]}"))
                continue
            same = place if self.keep_duplicates else first.setdefault(_digest(example), place)
            if same is not place:
                self.dropped.append(dropped_row(example, f"exact duplicate of an earlier row: {same}"))
                continue
            yield cells, example

    def _respelled(self, row: Row) -> dict[str, Cell]:
        cells = dict(row.cells)
        target = self.columns.target
        cell = cells.get(target) if target else None
        if target is None or is_missing(cell) or not self.changes:
            return cells
        separator = self.columns.label_separator
        if isinstance(cell, list | tuple):
            cells[target] = [self._spelled(part) for part in cell]
        elif isinstance(cell, str):
            parts = cell.split(separator) if separator else [cell]
            cells[target] = (separator or "").join(str(self._spelled(part)) for part in parts)
        return cells

    def _spelled(self, label: Cell) -> Cell:
        if isinstance(label, str) and label in self.changes:
            self.num_changed_labels += 1
            return self.changes[label]
        return label


def _digest(example: Example) -> bytes:
    text = "\0".join([*example.content, "\0", *target_of(example)])
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def clean(
    config: DataConfig, output: Path | None = None, min_rows_per_class: int = 1, overwrite: bool = False
) -> CleanResult:
    """Write a cleaned file, and beside it ``*.dropped.csv`` with every row left out and the reason.

    Left out: rows without text or label, exact duplicates (unless ``config.duplicates`` is keep), classes with fewer
    rows than ``min_rows_per_class``. Labels that differ in case or blanks only are written in the most frequent way.
    All other columns stay as they are. With ``config.redact`` personal data is replaced first, in every column: see
    ``redacted_cells``; two rows that are then the same are duplicates.

    Args:
        output: where to write; None: ``NAME.clean.csv`` beside ``NAME.csv``, likewise .tsv, .jsonl, .parquet, .conll;
            ``.jsonl`` of .json, whose lists and objects a csv would not keep.

    Raises:
        DataError: files that cannot be read, columns that are not found, the output exists, or rows whose spans or
            answers would be displaced.
    """
    tables, columns = open_with_columns(config.train, config)
    redactor = CellRedactor(columns) if config.redact else None
    output = output or _default_output(tables[0])
    list_path = output.with_name(f"{_stem(output.name)}.dropped.csv")
    if any(Path(table.name).absolute() == output.absolute() for table in tables):
        raise DataError("the output is one of the inputs", where=str(output), remedy="name another with --output")
    raw, num_rows = _raw_labels(tables, columns)
    changes = spellings(raw) if columns.kind in ("single_label", "multi_label") else {}
    keep = config.duplicates == "keep"
    first = _Cleaner(columns, keep, changes, frozenset(), CellRedactor(columns) if config.redact else None)
    counts = Counter(label for _, example in first.rows(tables) for label in example.labels)
    too_small = frozenset(label for label, count in counts.items() if count < min_rows_per_class)
    cleaner = _Cleaner(columns, keep, changes, too_small, redactor)
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    with RowWriter(output, names, overwrite) as writer:
        for cells, example in cleaner.rows(tables):
            writer.write(cells_beside(Row(cells, example.place), columns.image, output.parent))
        dropped = list(map(redact_dropped, cleaner.dropped)) if redactor else cleaner.dropped
        write_dropped(list_path, dropped, overwrite)
    return CleanResult(
        output=str(output),
        dropped_output=str(list_path),
        rows_read=num_rows,
        rows_written=writer.num_rows,
        dropped=count_reasons(dropped),
        changed_labels=changes,
        num_changed_labels=cleaner.num_changed_labels,
        redacted=dict(redactor.counts) if redactor else None,
        redacted_rows=redactor.num_rows if redactor else 0,
        redacted_beside={name: dict(counts) for name, counts in redactor.beside.items()} if redactor else {},
        announcements=[note for table in tables for note in table.announcements] + columns.announcements,
    )


def _default_output(table: Table) -> Path:
    path = Path("data") if table.name.startswith(("hf:", "pypi:")) else Path(table.name)
    return path.with_name(f"{_stem(path.name)}.clean{output_format(table)}")


def _stem(name: str) -> str:
    """The name without the suffixes of compression and format."""
    return Path(name.removesuffix(".gz").removesuffix(".zst")).stem


def _raw_labels(tables: Sequence[Table], columns: ColumnsFound) -> tuple[Counter[str], int]:
    """Labels as they are written, and the number of rows."""
    counts: Counter[str] = Counter()
    num_rows = 0
    for row in read_tables(tables):
        num_rows += 1
        cell = row.cells.get(columns.target) if columns.target else None
        if isinstance(cell, list | tuple):
            counts.update(part for part in cell if isinstance(part, str) and not is_missing(part))
        elif isinstance(cell, str) and not is_missing(cell):
            parts = cell.split(columns.label_separator) if columns.label_separator else [cell]
            counts.update(part for part in parts if cell_text(part))
        else:
            counts.update(cell_labels(cell, None))
    return counts, num_rows
