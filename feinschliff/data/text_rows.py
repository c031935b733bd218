"""A source and the text to be written from it: columns recognised by name, rows to examples. Knows no file format."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import cell_text, find_columns, is_missing
from feinschliff.data.examples import Example
from feinschliff.data.numbers import number
from feinschliff.data.rows_to_examples import RowReader, dropped_row, group_and_time
from feinschliff.data.tables import Cell, Row
from feinschliff.errors import DataError, Fault
from feinschliff.results.data import ColumnsFound

SURE = (
    ("source", "target"), ("src", "tgt"), ("source_text", "target_text"), ("src_text", "tgt_text"),
    ("input_text", "target_text"), ("document", "summary"), ("article", "highlights"), ("article", "summary"),
    ("text", "summary"), ("dialogue", "summary"), ("report", "summary"), ("original", "simplified"),
    ("quelle", "ziel"),
)  # fmt: skip
ASKED = (
    ("input", "output"), ("instruction", "output"), ("prompt", "completion"), ("prompt", "response"),
    ("question", "answer"), ("input", "target"), ("text", "target"), ("source", "translation"), ("text", "translation"),
)  # fmt: skip
"""Names that other tables have too."""
_LANGUAGES = (
    "af ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy it ja ka kk kn ko lt lv mk "
    "ml mn mr ms mt ne nl pa pl pt ro ru sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh arabic chinese czech danish "
    "deutsch dutch english finnish french german greek hungarian italian japanese korean norwegian polish portuguese "
    "romanian russian spanish swedish turkish ukrainian"
)
"""Codes (not those that are common words of tables: id, no, is) and names."""
LANGUAGES = frozenset(_LANGUAGES.split())
MOST_REPEATED = 0.5
"""Where fewer of a column's cells are different from each other, it holds classes, not texts."""


def find_texts(columns: Sequence[str], sample: Sequence[Row], config: DataConfig) -> ColumnsFound | None:
    """The columns of sources and targets; None where the table does not say that it has such.

    Two columns of languages, or two that are called so; never where another column looks like a label, or the targets
    repeat as classes do. Where the person asked for such rows (``config.rows``) names that other tables have too are
    taken as well, and the only two columns of text.

    Raises:
        DataError: a column that was named does not exist.
    """
    asked = config.rows == "texts"
    _check_named(columns, config)
    if len(config.text) > 1:
        return None
    text, target = config.text[0] if config.text else None, config.target
    if asked and text is not None and target is not None:
        return _found(text, target, columns, config, "as asked")
    fits = [
        pair for pair in _candidates(columns, sample, asked) if text in (None, pair[0]) and target in (None, pair[1])
    ]
    for source, goal, why in fits:
        if asked or (_is_written(goal, sample) and not _has_label(columns, sample, (source, goal), config)):
            return _found(source, goal, columns, config, why)
    return None


def nothing_found(columns: Sequence[str], where: str) -> DataError:
    """Such rows were asked for."""
    return DataError(
        "no columns of a source text and a target text were found",
        where=where,
        why=f"columns: {', '.join(columns)}; wanted: source and target, document and summary, two languages ...",
        remedy="name them: --text SOURCE --target TARGET",
    )


def _candidates(columns: Sequence[str], sample: Sequence[Row], asked: bool) -> Iterator[tuple[str, str, str]]:
    plain = {_plain(name): name for name in reversed(columns)}
    for source, goal in (*SURE, *(ASKED if asked else ())):
        if source in plain and goal in plain:
            yield plain[source], plain[goal], "their names"
    languages = [name for name in columns if _plain(name).split("_")[0] in LANGUAGES]
    if len(languages) == 2:
        one, other = languages
        said = f"columns of languages; the other way round: --text {other} --target {one}"
        yield one, other, said
        yield other, one, "columns of languages"
    texts = [name for name in columns if _is_written(name, sample)]
    if asked and len(texts) == 2:
        yield texts[0], texts[1], "the only texts"
        yield texts[1], texts[0], "the only texts"


def _is_written(name: str, sample: Sequence[Row]) -> bool:
    """Whether cells are texts that hardly repeat."""
    cells = [cell for row in sample if not is_missing(cell := row.cells.get(name))]
    if not cells or not all(isinstance(cell, str | list | tuple) for cell in cells):
        return False
    texts = [cell_text(cell) for cell in cells]
    if sum(number(text) is not None for text in texts) > 0.5 * len(texts):
        return False
    return len(set(texts)) > MOST_REPEATED * len(texts)


def _has_label(columns: Sequence[str], sample: Sequence[Row], pair: tuple[str, str], config: DataConfig) -> bool:
    rest = [name for name in columns if name != pair[1]]
    alone = config.model_copy(update={"text": (pair[0],), "target": None})
    return find_columns(rest, sample, alone, needs_target=False).target is not None


def _check_named(columns: Sequence[str], config: DataConfig) -> None:
    roles = [("--text", name) for name in config.text]
    roles += [("--target", config.target)] if config.target and config.rows == "texts" else []
    roles += [(f"--{role}", name) for role, name in (("group", config.group), ("time", config.time)) if name]
    faults = []
    for option, name in roles:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
            hint = f"did you mean {option} {near[0]}? " if near else ""
            faults.append(Fault(f"there is no column {name!r}", option, None, f"{hint}columns: {', '.join(columns)}"))
    if faults:
        raise DataError(faults)


def _found(source: str, target: str, columns: Sequence[str], config: DataConfig, why: str) -> ColumnsFound:
    used = {source, target, config.group, config.time}
    ignored = [name for name in columns if name not in used]
    said = [f"source {source!r}, target {target!r} ({why})"]
    said += [f"columns not used: {', '.join(map(repr, ignored))}"] if ignored else []
    return ColumnsFound(
        text=[source], target=target, group=config.group, time=config.time, kind="texts", announcements=said
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", name.strip().casefold())


@dataclass(slots=True)
class TextExampleReader(RowReader):
    """Rows to examples. A cell of targets may hold a list: any of them is right, the first is trained on."""

    def example(self, row: Row) -> Example | None:
        """See ``RowReader``."""
        place, (name, target) = self.num_rows, (self.columns.text[0], self.columns.target)
        self.num_rows += 1
        source = cell_text(row.cells.get(name))
        references = _texts(row.cells.get(target)) if target else ()
        group, time = group_and_time(row, self.columns)
        example = Example((source,), (), row.place, group, time, place, references=references)
        if not source:
            self.dropped.append(dropped_row(example, f"no text in column {name!r}"))
        elif self.needs_labels and not references:
            self.dropped.append(dropped_row(example, f"no text in column {target!r}"))
        else:
            return example
        return None


def _texts(cell: Cell) -> tuple[str, ...]:
    parts = cell if isinstance(cell, list | tuple) else [cell]
    return tuple(dict.fromkeys(cell_text(part) for part in parts if not is_missing(part)))
