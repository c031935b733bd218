"""Whether a table holds texts with labelled spans, or tokens with tags, and in which columns. Knows no file format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from feinschliff.data.columns import TEXT_NAMES
from feinschliff.data.tables import Cell, Row, at
from feinschliff.data.tag_schemes import OUTSIDE, Scheme, is_prefixed
from feinschliff.errors import DataError

TOKEN_NAMES = ("tokens", "words", "token", "word", "forms", "form")
TAG_NAMES = (
    "ner_tags", "ner", "ner_labels", "tags", "labels", "bio_tags", "iob_tags", "bio", "iob", "tag", "label",
    "token_labels", "word_labels", "fine_ner_tags", "chunk_tags", "pos_tags", "upos",
)  # fmt: skip
SPAN_NAMES = ("spans", "entities", "labels", "annotations", "label", "ents", "ner", "annotation", "tags", "entity")
START_KEYS = ("start", "begin", "start_offset", "begin_offset", "start_char", "start_index")
END_KEYS = ("end", "stop", "end_offset", "end_char", "end_index")
LABEL_KEYS = ("label", "type", "entity", "tag", "entity_group", "entity_type", "category", "class", "labels")
SURFACE_KEYS = ("text", "surface", "covered_text")
"""Keys under which exports repeat the text that a span covers."""
_NEARLY_ALL = 0.9
"""Share of cells that must look alike: those that do not are told as rows that cannot be used."""


@dataclass(frozen=True, slots=True)
class SpanColumns:
    """Where the texts and their spans stand, and how they are written."""

    text: str
    """Column of the text, or of the list of tokens."""
    target: str
    shape: Literal["spans", "tags"]
    """``spans``: lists of start, end and label, by characters of the text. ``tags``: a tag for each token."""
    reason: str = ""
    """A sentence: why these."""
    scheme: Scheme = "IOB2"
    """Of the tags; see ``tag_schemes.TagCensus``."""
    names: tuple[str, ...] = ()
    """What tags that are numbers mean, in their order; empty: tags are words."""


def looks_like_spans(
    columns: Sequence[str], sample: Sequence[Row], target: str | None = None, text: str | None = None
) -> SpanColumns | None:
    """The columns of token classification, or None where the table holds something else (one label a row, several ...).

    Decided by content: lists of tags as long as the list of tokens beside them in every row of the sample, or lists of
    start, end and label beside a text. Names decide between columns that would do, and about tags that do not look it.

    Args:
        target: the column of spans or tags, where it is known.
        text: the column of texts or tokens, where it is known.
    """
    targets, texts = [target] if target else list(columns), [text] if text else list(columns)
    return _tagged(targets, texts, sample) or _with_spans(targets, texts, sample)


def nearly_spans(columns: Sequence[str], sample: Sequence[Row], target: str | None = None) -> DataError | None:
    """What is wrong with columns that were meant for tags or spans; None where none was, by names and content."""
    for name in [target] if target else columns:
        cells = _filled(name, sample)
        items = [item for cell in cells for item in span_list(cell) or ()]
        parts = [span_parts(item) for item in items]
        where = at(sample[0].place.file, sample[0].place.line)
        if parts and all(isinstance(part[0], int) and isinstance(part[1], int) for part in parts):
            return DataError(f"the spans in column {name!r} have no labels", where=where,
                             why=f"the first is {str(items[0])[:60]}, and no key is one of {', '.join(LABEL_KEYS)}",
                             remedy='write {"start": 0, "end": 3, "label": "PER"}')  # fmt: skip
        tokens = [column for column in columns if column != name and _rank(column, TOKEN_NAMES) < len(TOKEN_NAMES)]
        shaped = _tag_shaped(cells) or (bool(items) and all(item == OUTSIDE for item in items))
        if tokens and shaped and _are_tags(cells) and _is_tokens(_filled(tokens[0], sample)):
            row = next((row for row in sample if not _as_long(tokens[0], name, [row])), sample[0])
            lengths = [len(row.cells.get(column) or ()) for column in (tokens[0], name)]  # type: ignore[arg-type]
            return DataError(f"columns {tokens[0]!r} and {name!r} differ in length in most rows",
                             where=at(row.place.file, row.place.line),
                             why=f"{lengths[0]} tokens and {lengths[1]} tags: every token needs a tag of its own",
                             remedy="write O where a token is in no entity")  # fmt: skip
    return None


def _rank(name: str, names: Sequence[str]) -> int:
    plain = name.strip().casefold().replace(" ", "_").replace("-", "_")
    return names.index(plain) if plain in names else len(names)


def _filled(name: str, sample: Sequence[Row]) -> list[Cell]:
    return [cell for row in sample if (cell := row.cells.get(name)) is not None]


def _tagged(targets: Sequence[str], texts: Sequence[str], sample: Sequence[Row]) -> SpanColumns | None:
    tokens = sorted((_rank(name, TOKEN_NAMES), name) for name in texts if _is_tokens(_filled(name, sample)))
    for token_rank, text in tokens:
        fitting = []
        for target in targets:
            lists = _filled(target, sample)
            if target == text or not _are_tags(lists) or not _as_long(text, target, sample):
                continue
            shaped, rank = _tag_shaped(lists), _rank(target, TAG_NAMES)
            if shaped or (rank < len(TAG_NAMES) and token_rank < len(TOKEN_NAMES)):
                fitting.append((rank, not shaped, target))
        if fitting:
            target = min(fitting)[2]
            reason = f"tokens in column {text!r}, a tag for each of them in column {target!r}"
            return SpanColumns(text, target, "tags", reason)
    return None


def _is_tokens(cells: Sequence[Cell]) -> bool:
    """Lists of single words."""
    if not cells or not all(isinstance(cell, list | tuple) for cell in cells):
        return False
    items = [item for cell in cells if isinstance(cell, list | tuple) for item in cell]
    if not items or not all(isinstance(item, str) for item in items):
        return False
    return sum(len(str(item).split()) > 1 for item in items) <= 0.1 * len(items)


def _are_tags(cells: Sequence[Cell]) -> bool:
    if not cells or not all(isinstance(cell, list | tuple) for cell in cells):
        return False
    items = [item for cell in cells if isinstance(cell, list | tuple) for item in cell]
    words = sum(isinstance(item, str) or item is None for item in items)
    numbers = sum((isinstance(item, int) and not isinstance(item, bool)) or item is None for item in items)
    return bool(items) and max(words, numbers) >= _NEARLY_ALL * len(items)


def _as_long(text: str, target: str, sample: Sequence[Row]) -> bool:
    """Whether nearly all rows have as many tags as tokens, and some have several."""
    pairs = [(row.cells.get(text), row.cells.get(target)) for row in sample]
    lengths = [(len(a), len(b)) for a, b in pairs if isinstance(a, list | tuple) and isinstance(b, list | tuple)]
    equal = [one for one, other in lengths if one == other]
    return max(equal, default=0) > 1 and len(equal) >= 0.9 * len(lengths)


def _tag_shaped(cells: Sequence[Cell]) -> bool:
    items = {item for cell in cells if isinstance(cell, list | tuple) for item in cell if isinstance(item, str)}
    prefixed = {item for item in items if is_prefixed(item)}
    return bool(prefixed) and len(prefixed) + (OUTSIDE in items) >= 0.8 * len(items)


def _with_spans(targets: Sequence[str], texts: Sequence[str], sample: Sequence[Row]) -> SpanColumns | None:
    fitting = [(_rank(name, SPAN_NAMES), name) for name in targets if _are_spans(_filled(name, sample))]
    for _, target in sorted(fitting):
        found = [name for name in texts if name != target and _is_text(_filled(name, sample))]
        if found:
            text = min(found, key=lambda name: (_rank(name, TEXT_NAMES), -_mean_length(_filled(name, sample))))
            reason = f"texts in column {text!r}, their spans (start, end, label) in column {target!r}"
            return SpanColumns(text, target, "spans", reason)
    return None


def _is_text(cells: Sequence[Cell]) -> bool:
    return bool(cells) and sum(isinstance(cell, str) for cell in cells) >= _NEARLY_ALL * len(cells)


def _mean_length(cells: Sequence[Cell]) -> float:
    return sum(len(str(cell)) for cell in cells) / max(1, len(cells))


def _are_spans(cells: Sequence[Cell]) -> bool:
    """Lists of what :func:`span_parts` takes apart; nearly all, so that a broken one is told and not the whole file."""
    lists = [span_list(cell) for cell in cells]
    if not cells or sum(spans is not None for spans in lists) < _NEARLY_ALL * len(lists):
        return False
    parts = [span_parts(item) for spans in lists if spans for item in spans]
    whole = [part for part in parts if isinstance(part[0], int) and isinstance(part[1], int) and part[2] is not None]
    return bool(whole) and len(whole) >= 0.8 * len(parts)


def span_list(cell: Cell) -> list[Cell] | None:
    """The spans of a cell: a list, one under ``entities`` (spaCy), or lists of starts, ends, labels (parquet)."""
    if isinstance(cell, dict) and set(cell) == {"entities"}:
        cell = cell["entities"]
    if isinstance(cell, dict) and cell and all(isinstance(column, list) for column in cell.values()):
        if len({len(column) for column in cell.values()}) > 1:
            return None
        return [dict(zip(cell, values, strict=True)) for values in zip(*cell.values(), strict=True)]
    return list(cell) if isinstance(cell, list | tuple) else None


def span_parts(item: Cell) -> tuple[Cell, Cell, Cell, Cell]:
    """Start, end, label and covered text of one span as it is written; None for what is not there."""
    if isinstance(item, list | tuple):
        start, end, label = (*item, None, None, None)[:3] if len(item) <= 3 else (None, None, None)
        return start, end, label, None
    if not isinstance(item, dict):
        return None, None, None, None
    plain = {str(key).casefold(): value for key, value in item.items()}

    def first(keys: Sequence[str]) -> Cell:
        return next((plain[key] for key in keys if plain.get(key) is not None), None)

    return first(START_KEYS), first(END_KEYS), first(LABEL_KEYS), first(SURFACE_KEYS)
