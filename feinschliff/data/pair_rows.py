"""Texts that belong together, and some that do not: columns recognised by name, rows to examples. Knows no file format.

An example's texts are an anchor, its positive and any number of negatives.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import PAIR_NAMES, cell_text, find_columns, is_missing
from feinschliff.data.examples import Example
from feinschliff.data.rows_to_examples import RowReader, count_reasons, dropped_row, group_and_time
from feinschliff.data.tables import Cell, Row
from feinschliff.errors import DataError, Fault
from feinschliff.results.data import ColumnsFound

ANCHORS = ("anchor", "query", "question")
POSITIVES = ("positive", "positives", "pos", "positive_passage", "positive_document", "positive_passages")
DOCUMENTS = ("passage", "document")
"""Positives too, where nothing in the table looks like a label."""
_NEGATIVE = re.compile(r"(hard_)?neg(atives?)?(_(passages?|documents?))?(_?\d+)?")


def find_pairs(columns: Sequence[str], sample: Sequence[Row], config: DataConfig) -> ColumnsFound | None:
    """The columns of anchors, positives and negatives; None where the table does not say that it has such.

    Names that other tables have too (a question and its answer, two sentences) are taken for such only where the
    person asked for pairs (``config.rows``), and texts beside what looks like a label never, unless they are called
    positive or there are negatives.

    Raises:
        DataError: a column that was named does not exist.
    """
    if config.target is not None:
        return None
    asked = config.rows == "pairs"
    texts = _named(columns, config) if config.text and asked else _by_name(columns, asked)
    if texts is None or (config.text and not asked):
        return None
    sure = _plain(texts[1]) in POSITIVES or len(texts) > 2
    if not sure and find_columns(columns, sample, config, needs_target=False).target is not None:
        return None
    used = {*texts, config.group, config.time}
    said = [f"anchor {texts[0]!r}, positive {texts[1]!r} ({'as asked' if config.text else 'their names'})"]
    said += [f"negatives: {', '.join(map(repr, texts[2:]))}"] if texts[2:] else []
    ignored = [name for name in columns if name not in used]
    said += [f"columns not used: {', '.join(map(repr, ignored))}"] if ignored else []
    return ColumnsFound(text=texts, target=None, group=config.group, time=config.time, kind="pairs", announcements=said)


def _named(columns: Sequence[str], config: DataConfig) -> list[str] | None:
    faults = []
    roles = [("--text", name) for name in config.text]
    for option, name in [*roles, ("--group", config.group), ("--time", config.time)]:
        if name is not None and name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
            hint = f"did you mean {option} {near[0]}? " if near else ""
            faults.append(Fault(f"there is no column {name!r}", option, None, f"{hint}columns: {', '.join(columns)}"))
    if faults:
        raise DataError(faults)
    return list(config.text) if len(config.text) > 1 else None


def _by_name(columns: Sequence[str], asked: bool) -> list[str] | None:
    plain = {_plain(name): name for name in columns}
    negatives = [name for name in columns if _NEGATIVE.fullmatch(_plain(name))]
    for anchor in ANCHORS:
        for positive in (*POSITIVES, *DOCUMENTS):
            unsure = anchor == "question" and positive in DOCUMENTS
            if anchor in plain and positive in plain and (asked or not unsure):
                return [plain[anchor], plain[positive], *negatives]
    pairs = [pair for pair in PAIR_NAMES if all(name in plain for name in pair)] if asked else []
    return [*(plain[name] for name in pairs[0]), *negatives] if pairs else None


def _plain(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", name.strip().casefold())


@dataclass(slots=True)
class PairExampleReader(RowReader):
    """Rows to examples. A cell may hold a list of texts: several positives make several examples of a row."""

    num_without_negatives: int = 0
    num_false_negatives: int = 0
    """Negatives that are their row's own anchor or positive."""

    def read(self, rows: Iterable[Row]) -> Iterator[Example]:
        """See ``RowReader``."""
        for row in rows:
            yield from self._examples(row)

    def example(self, row: Row) -> Example | None:
        """See ``RowReader``; of several examples the first."""
        return next(iter(self._examples(row)), None)

    def _examples(self, row: Row) -> list[Example]:
        number, names = self.num_rows, self.columns.text
        self.num_rows += 1
        cells = [_texts(row.cells.get(name)) for name in names]
        needed = 2 if self.needs_labels else len(names)
        empty = next((name for name, texts in zip(names[:needed], cells, strict=False) if not texts), None)
        anchor = cells[0][0] if cells[0] else ""
        positives = [text for text in cells[1] if text != anchor] if len(cells) > 1 else []
        if empty is not None:
            self._drop(row, f"no text in column {empty!r}", anchor)
            return []
        if self.needs_labels and not positives:
            self._drop(row, f"the same text in columns {names[0]!r} and {names[1]!r}", anchor)
            return []
        group, time = group_and_time(row, self.columns)
        if not self.needs_labels:
            return [Example(tuple(texts[0] for texts in cells), (), row.place, group, time, number)]
        given = [text for texts in cells[2:] for text in texts]
        negatives = [text for text in given if text not in (anchor, *positives)]
        self.num_false_negatives += len(given) - len(negatives)
        self.num_without_negatives += len(names) > 2 and not negatives
        # A split may not show one row of an anchor and ask for another.
        return [Example((anchor, one, *negatives), (), row.place, group or anchor, time, number) for one in positives]

    def _drop(self, row: Row, reason: str, anchor: str) -> None:
        self.dropped.append(dropped_row(Example((anchor,), (), row.place), reason))

    def announcements(self) -> list[str]:
        """See ``RowReader``."""
        said = [f"{count:,} rows dropped: {reason}" for reason, count in count_reasons(self.dropped).items()]
        if self.num_false_negatives:
            said.append(f"{self.num_false_negatives:,} negatives left out: they are their row's own anchor or positive")
        if self.num_without_negatives:
            said.append(f"{self.num_without_negatives:,} rows have no negative; texts of other rows stand for it")
        return said


def _texts(cell: Cell) -> list[str]:
    """The texts of a cell, each once: those of a list, or the one. An object is no text."""
    parts = cell if isinstance(cell, list | tuple) else [cell]
    texts = (cell_text(part) for part in parts if not is_missing(part) and not isinstance(part, Mapping))
    return list(dict.fromkeys(texts))
