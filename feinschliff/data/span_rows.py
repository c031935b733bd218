"""Rows to texts with spans; what cannot be used is dropped with a reason. Knows no file format and no tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from feinschliff.data.columns import cell_text, is_missing
from feinschliff.data.examples import Example
from feinschliff.data.rows_to_examples import count_reasons, dropped_row
from feinschliff.data.span_columns import SpanColumns, span_list, span_parts
from feinschliff.data.spans import Span, in_characters, join_tokens, without_blanks, without_overlaps
from feinschliff.data.tables import Cell, Row, kind_of
from feinschliff.data.tag_schemes import TagCensus, entities
from feinschliff.errors import DataError
from feinschliff.results.data import DroppedRow

TRIMMED = "spans lost the blanks at their ends"
REPEATED = "spans stood there twice and count once"
OVERLAPPING = "spans were left out: a longer one covers a part of them"
EMPTY = "entities were left out: their tokens are blank"


def with_scheme(columns: SpanColumns, rows: Iterable[Row]) -> tuple[SpanColumns, list[str]]:
    """The columns with the scheme that the tags of all rows follow, and what was found; rows are read once.

    Nothing is found, and no row read, where the spans are given by characters.

    Raises:
        DataError: tags are numbers and ``columns.names`` does not say what they mean.
    """
    if columns.shape == "spans":
        return columns, []
    census = TagCensus()
    for row in rows:
        try:
            census.add(_tags(row.cells, columns))
        except _UnnamedTags as error:
            raise DataError(f"the tags in column {columns.target!r} are numbers, and nothing says what they mean",
                            where=f"{row.place.file}:{row.place.line}", why=str(error),
                            remedy="write the tags as words (O, B-PER, I-PER ...), or name them in the order of the "
                            "numbers: --data.tag-names O,B-PER,I-PER") from error  # fmt: skip
        except DataError:  # told when the row is read
            continue
    return replace(columns, scheme=census.scheme), census.announcements()


class _UnnamedTags(ValueError):
    """Tags that are numbers, without names."""


def read_text(cells: Mapping[str, Cell], columns: SpanColumns) -> str:
    """The text of a row exactly as it is given (spans count its characters), or its tokens with blanks between.

    Raises:
        DataError: there is none.
    """
    if columns.shape == "tags":
        return join_tokens(_tokens(cells, columns))[0]
    cell = cells.get(columns.text)
    if is_missing(cell):
        raise DataError(f"no text in column {columns.text!r}")
    if not isinstance(cell, str):
        raise DataError(f"{kind_of(cell)} instead of a text in column {columns.text!r}")
    return cell


def read_spans(
    cells: Mapping[str, Cell], columns: SpanColumns, repairs: Counter[str] | None = None
) -> tuple[str, tuple[Span, ...]]:
    """Text and spans of a row: in order, apart from each other, inside the text, without blanks at their ends.

    Args:
        repairs: gets the number of spans that were changed or left out to make them so, by what was done.

    Raises:
        DataError: the row cannot be used; the first fault's ``what`` says why, details after a colon.
    """
    repairs = Counter() if repairs is None else repairs
    text = read_text(cells, columns)
    found = _from_tags(cells, columns, text, repairs) if columns.shape == "tags" else _from_spans(cells, columns, text)
    trimmed = [without_blanks(span, text) for span in found]
    repairs[TRIMMED] += sum(one != other for one, other in zip(found, trimmed, strict=True))
    distinct = list(dict.fromkeys(trimmed))
    repairs[REPEATED] += len(trimmed) - len(distinct)
    kept, left_out = without_overlaps(distinct)
    repairs[OVERLAPPING] += len(left_out)
    return text, tuple(kept)


def _tokens(cells: Mapping[str, Cell], columns: SpanColumns) -> list[str]:
    cell = cells.get(columns.text)
    if not isinstance(cell, list | tuple) or not cell:
        raise DataError(f"no tokens in column {columns.text!r}")
    tokens = [token if isinstance(token, str) else cell_text(token) for token in cell]
    if not any(token.strip() for token in tokens):
        raise DataError(f"only blank tokens in column {columns.text!r}")
    return tokens


def _tags(cells: Mapping[str, Cell], columns: SpanColumns) -> list[str]:
    cell = cells.get(columns.target)
    if not isinstance(cell, list | tuple):
        raise DataError(f"no tags in column {columns.target!r}")
    return [_tag(item, columns) for item in cell]


def _tag(item: Cell, columns: SpanColumns) -> str:
    if isinstance(item, str) and item.strip():
        return item.strip()
    if isinstance(item, int) and not isinstance(item, bool):
        if not columns.names:
            raise _UnnamedTags(f"the first is {item}")
        if not 0 <= item < len(columns.names):
            raise DataError(f"a tag number outside the {len(columns.names)} names: {item}")
        return columns.names[item]
    raise DataError(f"a token without a tag in column {columns.target!r}")


def _from_tags(cells: Mapping[str, Cell], columns: SpanColumns, text: str, repairs: Counter[str]) -> list[Span]:
    tokens = _tokens(cells, columns)
    try:
        tags = _tags(cells, columns)
    except _UnnamedTags as error:
        raise DataError(f"tags that are numbers, without names: {error}") from error
    if len(tags) != len(tokens):
        raise DataError(f"as many tags as tokens are needed: {len(tokens)} tokens, {len(tags)} tags")
    found = in_characters(entities(tags, columns.scheme), join_tokens(tokens)[1])
    filled = [span for span in found if text[span.start : span.end].strip()]
    repairs[EMPTY] += len(found) - len(filled)
    return filled


def _from_spans(cells: Mapping[str, Cell], columns: SpanColumns, text: str) -> list[Span]:
    cell = cells.get(columns.target)
    if cell is None:
        raise DataError(f"no spans in column {columns.target!r} (an empty list says that there are none)")
    items = span_list(cell)
    if items is None:
        raise DataError(f"column {columns.target!r} is not a list of spans: {str(cell)[:60]!r}")
    return [_span(item, text) for item in items]


def _span(item: Cell, text: str) -> Span:
    first, last, name, surface = span_parts(item)
    start, end = _offset(first), _offset(last)
    if start is None or end is None:
        raise DataError(f"a span without start and end: {str(item)[:60]}")
    if isinstance(name, list) and len(name) > 1:
        raise DataError(f"a span with several labels: {start} to {end}")
    label = cell_text(name[0] if isinstance(name, list) and name else name) if name is not None else ""
    if not label:
        raise DataError(f"a span without a label: {start} to {end}")
    if start >= end:
        raise DataError(f"a span that ends where it starts, or before: {start} to {end}")
    if start < 0 or end > len(text):
        raise DataError(f"a span outside the text: {start} to {end} of {len(text):,} characters")
    covered = text[start:end]
    if not covered.strip():
        raise DataError(f"a span of blanks: {start} to {end}")
    if isinstance(surface, str) and _plain(surface) != _plain(covered):
        raise DataError(f"a span does not cover the text that it names: {covered[:40]!r}, not {surface[:40]!r}")
    return Span(start, end, label)


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


def _offset(cell: Cell) -> int | None:
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    return cell if isinstance(cell, int) and not isinstance(cell, bool) else None


@dataclass(slots=True)
class SpanReader:
    """Turns rows into texts with spans and keeps count of what it leaves out or repairs."""

    columns: SpanColumns
    needs_labels: bool = True
    """False: only the text is read, to predict its spans."""
    dropped: list[DroppedRow] = field(default_factory=list)
    repairs: Counter[str] = field(default_factory=Counter)

    def read(self, rows: Iterable[Row]) -> Iterator[tuple[Row, str, tuple[Span, ...]]]:
        """Stream row, text and spans; rows that cannot be used are noted in ``dropped``."""
        for row in rows:
            found = self.spans(row)
            if found is not None:
                yield row, *found

    def spans(self, row: Row) -> tuple[str, tuple[Span, ...]] | None:
        """One row's text and spans; None, and noted, where it cannot be used."""
        try:
            if not self.needs_labels:
                return read_text(row.cells, self.columns), ()
            return read_spans(row.cells, self.columns, self.repairs)
        except DataError as error:
            self.dropped.append(dropped_row(Example((self._shown(row),), (), row.place), error.faults[0].what))
            return None

    def _shown(self, row: Row) -> str:
        cell = row.cells.get(self.columns.text)
        return " ".join(map(cell_text, cell)) if isinstance(cell, list | tuple) else cell_text(cell)

    def announcements(self) -> list[str]:
        """What was left out or repaired, in sentences."""
        said = [f"{count:,} rows dropped: {reason}" for reason, count in count_reasons(self.dropped).items()]
        return said + [f"{count:,} {what}" for what, count in self.repairs.items() if count]
