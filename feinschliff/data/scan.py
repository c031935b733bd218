"""One pass over the files of a check, keeping a few numbers per row and no text; a second one for texts to show.

Per row: place, set, hash of the text, label number, length in tokens, and the fingerprints of ``near_duplicates``:
about 60 bytes and 16 a word. Knows no findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import cell_text, is_missing
from feinschliff.data.examples import Example, answer_of, target_of
from feinschliff.data.image_duplicates import ImageFingerprints
from feinschliff.data.load import open_with_columns
from feinschliff.data.near_duplicates import Fingerprints
from feinschliff.data.personal_data import redact
from feinschliff.data.personal_findings import PersonalData
from feinschliff.data.redaction import redact_dropped, redacted_examples
from feinschliff.data.row_kinds import reader_of
from feinschliff.data.rows_to_examples import check_table_columns, reason_kind
from feinschliff.data.shared_beginnings import Beginnings
from feinschliff.data.sources import open_tables, read_tables
from feinschliff.data.tables import Row, Table
from feinschliff.results.data import ColumnsFound, DroppedRow, RowRef

CHUNK_ROWS = 8192
LARGE_CELL_CHARACTERS = 100_000
SETS = ("train", "validation", "test")
_EXAMPLES_KEPT = 20
Texts = tuple[str, ...]
"""What a row says: one text, or the two of a pair."""
CountTokens = Callable[[Sequence[Example]], list[int]]
"""Rows to their lengths in tokens; 0: not known."""


@dataclass(slots=True)
class Remarkable:
    """Rows of one kind: how many, and the first of them."""

    count: int = 0
    examples: list[RowRef] = field(default_factory=list)

    def add(self, example: RowRef) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < _EXAMPLES_KEPT:
            self.examples.append(example)


@dataclass(slots=True)
class Scan:
    """What is known of the usable rows (numbered from 0, set after set) and of the others."""

    columns: ColumnsFound
    tables: list[list[Table]]
    """The files of each set."""
    files: list[str]
    file_of: NDArray[np.int32]
    line_of: NDArray[np.int32]
    set_of: NDArray[np.int8]
    text_hash: NDArray[np.uint64]
    label_of: NDArray[np.int32]
    """Number of the row's labels in ``label_sets``."""
    num_tokens: NDArray[np.int32] | None
    label_sets: list[tuple[str, ...]]
    raw_labels: Counter[str]
    """Labels as they are written, blanks and all."""
    unusable: dict[tuple[str, bool], Remarkable]
    """Kind of reason (see ``rows_to_examples.reason_kind``) to rows that a run would drop."""
    num_unusable_training: int
    """How many of them are training rows."""
    large_cells: Remarkable
    fingerprints: Fingerprints | ImageFingerprints
    beginnings: Beginnings
    num_rows_read: int = 0
    redacted: Counter[str] | None = None
    """Kinds of personal data that was replaced in the rows; None: it stays."""
    personal: PersonalData = field(default_factory=PersonalData)
    """What there is, where it stays and rows are texts."""

    def place(self, row: int) -> tuple[str, int]:
        """File and line of a usable row."""
        return self.files[self.file_of[row]], int(self.line_of[row])

    def labels(self, row: int) -> tuple[str, ...]:
        """The labels of a usable row."""
        return self.label_sets[int(self.label_of[row])]

    def texts(self, wanted: Collection[int]) -> dict[int, Texts]:
        """The texts of some rows, read anew."""
        remaining = set(wanted)
        found: dict[int, Texts] = {}
        if not remaining:
            return found
        last = max(remaining)
        for number, example in enumerate(self.examples()):
            if number in remaining:
                found[number] = example.texts
            if number >= last:
                break
        return found

    def examples(self) -> Iterator[Example]:
        """All usable rows in their order, read anew."""
        for tables in self.tables:
            rows = reader_of(self.columns).read(read_tables(tables))
            yield from rows if self.redacted is None else redacted_examples(rows, Counter())


def joined(texts: Texts) -> str:
    """The text of a row to show or to compare, the two of a pair with a line end between."""
    return "\n".join(texts)


def scan(config: DataConfig, count_tokens: CountTokens | None = None) -> Scan:
    """Read everything once.

    Raises:
        DataError: files that cannot be read, or columns that are not found.
    """
    tables, columns = open_with_columns(config.train, config)
    sets = [tables, *(open_tables(sources, config) for sources in (config.validation, config.test))]
    for others in sets[1:]:
        check_table_columns(others, columns)
    collector = _Collector(columns, config, count_tokens)
    for number, group in enumerate(sets):
        rows = read_tables(group)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            collector.add(number, chunk)
    return collector.finish(sets)


class _Collector:
    def __init__(self, columns: ColumnsFound, config: DataConfig, count_tokens: CountTokens | None) -> None:
        self.columns, self.count_tokens = columns, count_tokens
        self.reader = reader_of(columns)
        self.texts, self.images = Fingerprints(config.near_duplicate_similarity), ImageFingerprints()
        self.beginnings = Beginnings()
        self.redacted: Counter[str] | None = Counter() if config.redact else None
        self.personal = PersonalData()
        self.files: dict[str, int] = {}
        self.label_sets: dict[tuple[str, ...], int] = {}
        self.parts: list[tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.uint64], NDArray[np.int32]]] = []
        self.raw_labels: Counter[str] = Counter()
        self.unusable: dict[tuple[str, bool], Remarkable] = {}
        self.num_unusable_training = 0
        self.large_cells = Remarkable()
        self.num_rows_read = 0

    def add(self, set_number: int, rows: Sequence[Row]) -> None:
        self.num_rows_read += len(rows)
        for row in rows:
            self._look_at_cells(row)
        examples = list(self.reader.read(rows))
        if self.redacted is not None:
            examples = list(redacted_examples(examples, self.redacted))
        elif self.columns.image is None and not self.columns.numbers:
            self.personal.look(examples)
        for dropped in self.reader.dropped:
            shown = _reference(dropped if self.redacted is None else redact_dropped(dropped))
            self.unusable.setdefault(reason_kind(dropped.reason), Remarkable()).add(shown)
        self.num_unusable_training += len(self.reader.dropped) if set_number == 0 else 0
        self.reader.dropped.clear()
        self.beginnings.add(examples)
        texts = [joined(example.content) for example in examples]
        if self.columns.image is None:
            self.texts.add(texts)
        self.images.add(example.image for example in examples if example.image is not None)
        numbers = np.array([self._numbers(example) for example in examples], dtype=np.int32).reshape(-1, 3)
        digests = b"".join(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
        lengths = self.count_tokens(examples) if self.count_tokens and texts else []
        self.parts.append(
            (
                numbers,
                np.full(len(texts), set_number, dtype=np.int8),
                np.frombuffer(digests, dtype="<u8").astype(np.uint64),
                np.array(lengths, dtype=np.int32),
            )
        )

    def _numbers(self, example: Example) -> tuple[int, int, int]:
        file = self.files.setdefault(example.place.file, len(self.files))
        target = answer_of(example) if example.conversation is None else target_of(example)
        return file, example.place.line, self.label_sets.setdefault(target, len(self.label_sets))

    def _look_at_cells(self, row: Row) -> None:
        target = self.columns.target
        cell = row.cells.get(target) if target else None
        if not is_missing(cell) and self.columns.kind in ("single_label", "multi_label"):
            separator = self.columns.label_separator
            parts = cell if isinstance(cell, list | tuple) else str(cell).split(separator) if separator else [cell]
            self.raw_labels.update(part if isinstance(part, str) else cell_text(part) for part in parts)
        for name, value in row.cells.items():
            if isinstance(value, str) and len(value) > LARGE_CELL_CHARACTERS:
                note, begin = f"column {name!r}: {len(value):,} characters", value[:80]
                begin = begin if self.redacted is None else redact(value[:200])[0][:80]
                self.large_cells.add(RowRef(file=row.place.file, line=row.place.line, text=begin, note=note))

    def finish(self, sets: list[list[Table]]) -> Scan:
        numbers, set_of, text_hash, lengths = (np.concatenate(parts) for parts in zip(*self.parts, strict=True))
        return Scan(
            columns=self.columns,
            tables=sets,
            files=list(self.files),
            file_of=numbers[:, 0].copy(),
            line_of=numbers[:, 1].copy(),
            set_of=set_of,
            text_hash=text_hash,
            label_of=numbers[:, 2].copy(),
            num_tokens=lengths if self.count_tokens else None,
            label_sets=list(self.label_sets),
            raw_labels=self.raw_labels,
            unusable=self.unusable,
            num_unusable_training=self.num_unusable_training,
            large_cells=self.large_cells,
            fingerprints=self.texts if self.columns.image is None else self.images,
            beginnings=self.beginnings,
            num_rows_read=self.num_rows_read,
            redacted=self.redacted,
            personal=self.personal,
        )


def _reference(dropped: DroppedRow) -> RowRef:
    return RowRef(file=dropped.file, line=dropped.line, text=dropped.text, note=dropped.reason)
