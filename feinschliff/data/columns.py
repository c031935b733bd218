"""Which column is text, label, group, time: by name and by content. Knows no file format."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from feinschliff.config.data import DataConfig
from feinschliff.data.numbers import are_measurements
from feinschliff.data.tables import Cell, Row
from feinschliff.errors import DataError, Fault
from feinschliff.results.data import ColumnsFound

TARGET_NAMES = (
    "label", "labels", "category", "categories", "target", "class", "sentiment", "intent", "topic", "topics", "emotion",
    "emotions", "rating", "stars", "tag", "tags", "toxicity", "polarity", "priority", "department", "queue", "genre",
    "verdict", "is_spam", "spam", "gold_label", "label_text", "coarse_label", "y", "type", "score", "kategorie",
)  # fmt: skip
TEXT_NAMES = (
    "text", "sentence", "review", "message", "body", "utterance", "content", "comment", "description", "query",
    "question", "tweet", "document", "input", "prompt", "ticket", "email", "post", "abstract", "summary", "title",
    "subject", "headline", "instruction", "phrase", "nachricht", "beschreibung",
)  # fmt: skip
PAIR_NAMES = (
    ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("text1", "text2"), ("text_1", "text_2"),
    ("text_a", "text_b"), ("sentence_a", "sentence_b"), ("premise", "hypothesis"), ("question1", "question2"),
    ("question", "answer"),
    ("question", "passage"), ("question", "sentence"), ("query", "passage"), ("query", "document"),
)  # fmt: skip
_OTHER_NAMES = (
    "anchor",
    "id",
    "index",
    "idx",
    "date",
    "time",
    "timestamp",
    "created_at",
    "user",
    "author",
    "group",
    "customer",
    "file",
)
KNOWN_NAMES = frozenset((*TARGET_NAMES, *TEXT_NAMES, *(name for pair in PAIR_NAMES for name in pair), *_OTHER_NAMES))
MISSING = frozenset(("", "nan", "null", "<na>", "#n/a", "#na", "-nan"))
"""Cells that mean nothing is there, in lower case. ``none``, ``na`` and ``n/a`` are not: they occur as labels."""
SEPARATORS = ("|", ";", ",")
SAMPLE_ROWS = 2000


@dataclass(frozen=True, slots=True)
class _Content:
    """What the sampled cells of one column look like."""

    name: str
    num_filled: int
    num_distinct: int
    mean_length: float
    mean_words: float
    share_numeric: float
    share_comma: float
    """Of cells that are numbers with a decimal comma."""
    is_list: bool

    @property
    def is_text(self) -> bool:
        return self.share_numeric < 0.5 and not self.is_list and self.mean_words >= 2.5 and self.num_distinct > 1

    @property
    def can_be_label(self) -> bool:
        """Few distinct values in relation to the rows; with a handful of rows, anything short."""
        few = self.num_distinct <= max(2, self.num_filled / 3) or self.num_filled < 12
        return self.is_list or (self.num_filled > 0 and few and self.mean_length <= 60 and self.mean_words < 6)


def find_columns(
    columns: Sequence[str], sample: Sequence[Row], config: DataConfig, needs_target: bool = True
) -> ColumnsFound:
    """Choose the columns; what the configuration names is taken as it is, the rest is found.

    Args:
        columns: all names of the table, in its order.
        sample: the first rows (``SAMPLE_ROWS`` is enough).
        needs_target: False where labels are optional (rows to predict).

    Raises:
        DataError: a named column does not exist (the nearest is named), or no text or no label column is found.
    """
    check_named(columns, config)
    contents = {name: _content(name, sample) for name in columns}
    said: list[str] = []
    reserved = {config.group, config.time, *config.text} - {None}
    free = [contents[name] for name in columns if name not in reserved]
    target = config.target or _find_target(free) or _find_measurement(free, sample, config)
    values = _find_values(columns, sample, target, config)
    taken = {target, config.group, config.time, *values}
    texts = list(config.text) or _find_texts([contents[name] for name in columns if name not in taken])
    if not texts or (target is None and needs_target):
        raise _nothing_found(list(contents.values()), texts, target, sample[0].place.file, config.rows == "values")
    how = "as asked" if config.text else "found"
    said.append(f"text column{'s' if len(texts) > 1 else ''} {_quoted(texts)} ({how})")
    separator, several = None, False
    if values:
        said.append(_say_values(values, config))
    elif target is not None:
        separator, several = _find_separator(contents[target], sample, config)
        said.append(_say_target(contents[target], config.target is not None, several, separator))
    said += [
        f"{role} column {name!r} (as asked)" for role, name in (("group", config.group), ("time", config.time)) if name
    ]
    used = {*texts, target, config.group, config.time, *values}
    ignored = [name for name in columns if name not in used]
    if ignored:
        said.append(f"columns not used: {_quoted(ignored)}")
    return ColumnsFound(
        text=texts,
        target=values[0] if values else target,
        group=config.group,
        time=config.time,
        label_separator=separator,
        kind="values" if values else "multi_label" if several else "single_label",
        values=values,
        announcements=said,
    )


def _find_values(columns: Sequence[str], sample: Sequence[Row], target: str | None, config: DataConfig) -> list[str]:
    """The columns of numbers to be predicted; none where the target is labels."""
    if config.rows == "labels" or target is None:
        return []
    named = target_names(target, columns)
    if config.rows == "values" or len(named) > 1:
        return named
    cells = [cell for row in sample if not is_missing(cell := row.cells.get(target))]
    return named if are_measurements(cells) else []


def _find_measurement(candidates: list[_Content], sample: Sequence[Row], config: DataConfig) -> str | None:
    """The only column of measurements, or of any numbers where those were asked for; labels were not found."""
    if config.rows == "labels":
        return None
    possible = [content for content in candidates if _plain(content.name) not in _OTHER_NAMES]
    names = [
        content.name
        for content in possible
        if are_measurements(cell for row in sample if not is_missing(cell := row.cells.get(content.name)))
    ]
    if not names and config.rows == "values":
        names = [content.name for content in possible if content.share_numeric >= 0.5]
    return names[0] if len(names) == 1 else None


def target_names(target: str, columns: Sequence[str]) -> list[str]:
    """The columns that ``--target`` names: one, or several with commas between."""
    return [target] if target in columns or "," not in target else [name.strip() for name in target.split(",")]


def _say_values(values: Sequence[str], config: DataConfig) -> str:
    how = "as asked" if config.target or config.rows == "values" else "numbers with fractions"
    columns = f"column{'s' if len(values) > 1 else ''} {_quoted(values)}"
    other = "" if config.rows == "values" else "; --task text_classification takes them for labels"
    return f"number {columns} ({how}{other})"


def is_missing(cell: Cell) -> bool:
    """Whether a cell holds nothing: None, NaN, blanks, or the way programs write those."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return True
    if isinstance(cell, list | tuple):
        return all(is_missing(item) for item in cell)
    return isinstance(cell, str) and cell.strip().casefold() in MISSING


def cell_text(cell: Cell) -> str:
    """A cell as text: blanks around it removed, ``True`` as ``true``, 3.0 as ``3``; nothing for a missing one."""
    if is_missing(cell):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def cell_labels(cell: Cell, separator: str | None) -> tuple[str, ...]:
    """The labels of a cell, in order, each once: the items of a list, the parts between separators, or the one."""
    if isinstance(cell, list | tuple):
        parts = [cell_text(item) for item in cell]
    elif separator and isinstance(cell, str):
        parts = [cell_text(part) for part in cell.split(separator)]
    else:
        parts = [cell_text(cell)]
    return tuple(dict.fromkeys(part for part in parts if part))


def check_named(columns: Sequence[str], config: DataConfig, several: bool = False) -> None:
    """Refuse names of columns that do not exist, and more than two of texts unless there may be ``several``.

    Raises:
        DataError: each with the nearest name.
    """
    named = [("--text", name) for name in config.text]
    named += [("--target", name) for name in target_names(config.target, columns)] if config.target else []
    named += [(f"--{role}", name) for role, name in (("group", config.group), ("time", config.time)) if name]
    faults = []
    for option, name in named:
        if name not in columns:
            near = difflib.get_close_matches(
                name.casefold(), [column.casefold() for column in columns], n=1, cutoff=0.5
            )
            nearest = next((column for column in columns if near and column.casefold() == near[0]), None)
            hint = f"did you mean {option} {nearest}? " if nearest else ""
            faults.append(Fault(f"there is no column {name!r}", option, None, f"{hint}columns: {', '.join(columns)}"))
    if len(config.text) > 2 and not several:
        faults.append(
            Fault(f"{len(config.text)} text columns", "--text", "a row is one text or a pair", "name one or two")
        )
    if faults:
        raise DataError(faults)


def _content(name: str, sample: Sequence[Row]) -> _Content:
    cells = [row.cells.get(name) for row in sample]
    filled = [cell for cell in cells if not is_missing(cell)]
    texts = [cell_text(cell) for cell in filled]
    count = max(1, len(texts))
    return _Content(
        name=name,
        num_filled=len(texts),
        num_distinct=len(set(texts)),
        mean_length=sum(map(len, texts)) / count,
        mean_words=sum(len(text.split()) for text in texts) / count,
        share_numeric=sum(bool(re.fullmatch(r"[+-]?\d*\.?\d+", text)) for text in texts) / count,
        share_comma=sum(bool(re.fullmatch(r"[+-]?\d+,\d+", text)) for text in texts) / count,
        is_list=bool(filled) and all(isinstance(cell, list | tuple) for cell in filled),
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", name.strip().casefold())


def _find_target(candidates: list[_Content]) -> str | None:
    by_name = sorted(
        (TARGET_NAMES.index(_plain(content.name)), not content.can_be_label, position, content.name)
        for position, content in enumerate(candidates)
        if _plain(content.name) in TARGET_NAMES and not (content.is_text and not content.can_be_label)
    )
    if by_name:
        return by_name[0][3]
    parts = [content for content in candidates if set(_plain(content.name).split("_")) & set(TARGET_NAMES[:12])]
    parts = [content for content in parts if content.can_be_label and not content.is_text]
    if len(parts) == 1:
        return parts[0].name
    possible = [content for content in candidates if _plain(content.name) not in _OTHER_NAMES]
    fitting = [
        content for content in possible if content.can_be_label and not content.is_text and content.num_distinct > 1
    ]
    fitting = [content for content in fitting if not re.search(r"(^|_)(id|idx|index)$", _plain(content.name))]
    if len(fitting) == 1 or (fitting and all(content.name.startswith("column_") for content in fitting)):
        return min(fitting, key=lambda content: content.num_distinct).name
    return None


def _find_texts(candidates: list[_Content]) -> list[str]:
    by_plain = {_plain(content.name): content.name for content in candidates}
    for pair in PAIR_NAMES:
        if all(name in by_plain for name in pair):
            return [by_plain[name] for name in pair]
    named = [name for name in TEXT_NAMES if name in by_plain]
    if named:
        return [by_plain[named[0]]]
    texts = [content for content in candidates if content.is_text]
    if not texts:
        texts = [content for content in candidates if content.share_numeric < 0.5 and content.num_distinct > 1]
        texts = texts if len(texts) == 1 or len(candidates) == 1 else []
    if len(candidates) == 1 and not texts:
        return [candidates[0].name]
    texts = sorted(texts, key=lambda content: -content.mean_length)
    similar = [content for content in texts[:2] if content.mean_length > 0.5 * texts[0].mean_length]
    unnamed = all(content.name.startswith("column_") for content in similar)
    if len(similar) == 2 and unnamed and len(texts) == 2:
        return sorted(content.name for content in similar)
    return [texts[0].name] if texts else []


def _find_separator(content: _Content, sample: Sequence[Row], config: DataConfig) -> tuple[str | None, bool]:
    """The separator, and whether rows can have several labels."""
    if content.is_list:
        return None, True
    if config.label_separator:
        return config.label_separator, True
    cells = [cell for row in sample if isinstance(cell := row.cells.get(content.name), str) and not is_missing(cell)]
    for separator in SEPARATORS:
        if _separates(cells, separator):
            return separator, True
    return None, False


def _separates(cells: list[str], separator: str) -> bool:
    """Whether parts between separators are labels of their own: nearly all also stand alone or in other mixtures."""
    split = [[part.strip() for part in cell.split(separator)] for cell in cells]
    several = [parts for parts in split if len(parts) > 1]
    if len(several) < max(2, 0.01 * len(cells)) or any(
        "" in parts or len(set(parts)) < len(parts) for parts in several
    ):
        return False
    alone = {parts[0] for parts in split if len(parts) == 1}
    partners: dict[str, set[str]] = {}
    for parts in several:
        for one, other in pairwise(sorted(parts)):
            partners.setdefault(one, set()).add(other)
            partners.setdefault(other, set()).add(one)
    mixed = {part for part, others in partners.items() if part in alone or len(others) > 1}
    return len(mixed) >= 0.8 * len(partners)


def _say_target(content: _Content, asked: bool, several: bool, separator: str | None) -> str:
    how = "as asked" if asked else "its name" if _plain(content.name) in TARGET_NAMES else "its few distinct values"
    values = f"{content.num_distinct} distinct values in the first {content.num_filled:,} rows"
    kind = f", several labels a row{f' separated by {separator!r}' if separator else ' (lists)'}" if several else ""
    return f"label column {content.name!r} ({how}; {values}){kind}"


def _nothing_found(
    contents: list[_Content], texts: list[str], target: str | None, file: str, numbers: bool
) -> DataError:
    """Which roles no column has, and which column may have been meant."""
    listing = "; ".join(f"{content.name} ({content.num_distinct} distinct values)" for content in contents) or "none"
    faults = []
    if not texts:
        faults.append(Fault("no text column was found", file, f"columns: {listing}", "name it: --text COLUMN"))
    if target is None:
        others = [content for content in contents if content.name not in texts]
        numeric = [content for content in others if content.share_numeric >= 0.5]
        fitting = [content for content in others if content.can_be_label and not numbers] or numeric
        best = min(fitting, key=lambda content: content.num_distinct, default=None)
        example = f" (for instance --target {best.name})" if best else ""
        wanted = "number" if numbers else "label"
        remedy = f"name it: --target COLUMN{example}, or add a column with the {wanted} of each row"
        comma = next((content.name for content in others if content.share_comma >= 0.5), None)
        if comma is not None:
            listing += f"; {comma} holds numbers with a decimal comma"
            remedy = f"write the numbers of {comma} with a point (3.5), or {remedy}"
        what = "no column of numbers to be predicted was found" if numbers else "no label column was found"
        faults.append(Fault(what, file, f"columns: {listing}", remedy))
    return DataError(faults)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
