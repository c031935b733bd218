"""Whether a table holds conversations, in which columns, and in which format. Knows no file format and no message.

OpenAI and ShareGPT have a column of lists of messages; Alpaca and prompts with completions have a column for each part.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import cell_text, find_columns, is_missing
from feinschliff.data.message_lists import parsed, written_as
from feinschliff.data.numbers import number
from feinschliff.data.tables import Cell, Row
from feinschliff.errors import DataError, Fault
from feinschliff.results.data import ColumnsFound

OPENAI, SHAREGPT, ALPACA, PROMPT_COMPLETION = "openai", "sharegpt", "alpaca", "prompt_completion"
LISTS = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns")
"""Names of columns of messages, where several columns hold such."""
TELLING = (
    ("instruction", "output"), ("instruction", "response"), ("prompt", "completion"), ("prompt", "response"),
    ("question", "answer"),
)  # fmt: skip
ASKED = (
    *TELLING, ("input", "output"), ("query", "response"), ("query", "answer"), ("question", "response"),
    ("prompt", "output"), ("prompt", "answer"), ("instruction", "completion"), ("input", "response"),
    ("problem", "solution"), ("user", "assistant"), ("request", "response"), ("text", "completion"),
)  # fmt: skip
"""Names that other tables have too."""
_INPUTS = ("input", "context")
"""What an instruction or a question is about, in a column of its own."""
_TAKE_INPUTS = ("instruction", "question")
SYSTEM, INPUT, HISTORY, TOOLS, FUNCTIONS, PARALLEL = (
    "system", "input", "history", "tools", "functions", "parallel_tool_calls",
)  # fmt: skip
"""Parts beside the messages: keys of ``ColumnsFound.parts``."""
_JUDGEMENTS = ("chosen", "rejected", "label", "kto_tag", "score", "rating")
"""Columns of preferences, beside messages."""
MOST_REPEATED = 0.5
"""Where fewer of a column's cells are different from each other, it holds classes, not answers."""
NAMELESS = "column_"
"""How columns of files without a header are called, with their number behind it."""
_SAMPLE_ROWS = 200


@dataclass(frozen=True, slots=True)
class _Found:
    """A table's conversations: the format, and which column is what."""

    format: str
    text: str
    target: str | None = None
    why: str = "found"
    parts: Mapping[str, str] = field(default_factory=dict)


def find_conversations(columns: Sequence[str], sample: Sequence[Row], config: DataConfig) -> ColumnsFound | None:
    """What holds conversations whatever else is in the table: columns of lists of messages.

    Where the person asked for conversations (``config.rows``, ``config.conversations``), prompts with their answers
    too: two columns that are named, or called as in ``ASKED``.

    Raises:
        DataError: a column that was named does not exist; conversations were asked for, or a format of theirs, and the
            table holds none.
    """
    wanted = config.conversations
    if config.rows != "conversations" and wanted is None:
        found = None if config.target is not None else _lists(columns, sample, config)
        return None if found is None else _as_found(found, columns, config)
    _check_named(columns, config)
    found = None
    if wanted in (None, OPENAI, SHAREGPT):
        found = _lists(columns, sample, config)
    if found is None and wanted in (None, ALPACA, PROMPT_COMPLETION):
        found = _prompts(columns, sample, config, ASKED)
    if found is None or wanted not in (None, found.format):
        raise _none_found(columns, sample, found, wanted)
    return _as_found(found, columns, config)


def find_prompts(columns: Sequence[str], sample: Sequence[Row], config: DataConfig) -> ColumnsFound | None:
    """Prompts with answers that are free text, by the names of ``TELLING``; never where a column looks like a label."""
    found = _prompts(columns, sample, config, TELLING)
    if found is None or found.target is None or not _is_free_text(found.target, sample):
        return None
    used = {found.target, *found.parts.values()}
    rest = [name for name in columns if name not in used]
    alone = config.model_copy(update={"text": (found.text,), "target": None})
    if find_columns(rest, sample, alone, needs_target=False).target is not None:
        return None
    return _as_found(found, columns, config)


def also_prompts(columns: Sequence[str], sample: Sequence[Row], config: DataConfig) -> list[str]:
    """What to say where rows that are taken for labelled ones could be prompts with their answers too."""
    asked = config.rows != "auto" or config.target is not None
    found = None if asked else _prompts(columns, sample, config, TELLING)
    if found is None or found.target is None or not _is_free_text(found.target, sample):
        return []
    return [f"to learn to write {found.target!r} from {found.text!r} instead: --data.rows conversations"]


def how_to_ask(columns: Sequence[str], sample: Sequence[Row], config: DataConfig) -> str | None:
    """The options that have a table read as prompts with answers; None where its columns do not look like such.

    They do by the names of ``ASKED``, and two columns without names (of a csv without a header) where both hold several
    words a cell.
    """
    found = _prompts(columns, sample, config, ASKED)
    if found is not None and found.target is not None:
        free = _is_free_text(found.text, sample) and _is_free_text(found.target, sample)
        return "--data.rows conversations" if free else None
    if len(columns) != 2 or config.text or not all(_is_nameless_text(name, sample) for name in columns):
        return None
    return f"--data.rows conversations --text {columns[0]} --target {columns[1]}"


def _is_nameless_text(name: str, sample: Sequence[Row]) -> bool:
    texts = [cell_text(row.cells.get(name)) for row in sample]
    several = sum(" " in text for text in texts) > 0.5 * len(texts)
    return name.startswith(NAMELESS) and several and _is_free_text(name, sample)


def _lists(columns: Sequence[str], sample: Sequence[Row], config: DataConfig) -> _Found | None:
    """The column of messages; where several hold such, the one that is called so, or a prompt and its completion.

    So is the only one, together with the column that belongs to it by the names of ``ASKED``: one cell may hold the
    messages up to the last answer, the other that answer as a text. A column that is named is taken alone.
    """
    if len(config.text) > 1 or config.target is not None:
        return None
    formats = {name: found for name in config.text or columns if (found := _format_of(name, sample))}
    plain = {_plain(name): name for name in reversed(list(formats))}
    chosen = next((plain[name] for name in LISTS if name in plain), None)
    if chosen is None and (pairs := _pairs_of_lists(plain, columns, config)):
        return _asked_in_lists(_prompts(columns, sample, config, pairs), formats)
    if chosen is None and len(formats) == 1:
        chosen = next(iter(formats))
    if chosen is None:
        return None
    parts = _parts(columns, sample, {chosen}, (SYSTEM, TOOLS, FUNCTIONS, PARALLEL))
    return _Found(formats[chosen], chosen, None, "as asked" if config.text else "found", parts)


def _pairs_of_lists(plain: Mapping[str, str], columns: Sequence[str], config: DataConfig) -> list[tuple[str, str]]:
    """Pairs of ``ASKED`` with lists in both columns; else those of the only column of lists (``plain``) and another."""
    both = [(one, other) for one, other in ASKED if one in plain and other in plain]
    if both or len(plain) != 1 or config.text:
        return both
    there = {_plain(name) for name in columns}
    return [pair for pair in ASKED if not plain.keys().isdisjoint(pair) and there.issuperset(pair)]


def _asked_in_lists(found: _Found | None, formats: Mapping[str, str]) -> _Found | None:
    """Without the parts of a prompt that only a prompt in words has, where the prompt is a list of messages."""
    if found is None or found.text not in formats:
        return found
    parts = {part: name for part, name in found.parts.items() if part not in (INPUT, HISTORY)}
    return replace(found, parts=parts)


def _format_of(name: str, sample: Sequence[Row]) -> str | None:
    """The format of most cells of a column; None where they are no lists of messages."""
    cells = [cell for row in sample[:_SAMPLE_ROWS] if not is_missing(cell := row.cells.get(name))]
    formats = [written_as(cell) for cell in cells]
    best = max((OPENAI, SHAREGPT), key=formats.count)
    return best if formats.count(best) * 2 > len(cells) else None


def _prompts(
    columns: Sequence[str], sample: Sequence[Row], config: DataConfig, names: Sequence[tuple[str, str]]
) -> _Found | None:
    """Two columns, as they are named or by the first of ``names`` that fits."""
    text, target = config.text[0] if len(config.text) == 1 else None, config.target
    plain = {_plain(name): name for name in reversed(columns)}
    fits = [(plain[one], plain[other]) for one, other in names if one in plain and other in plain]
    fits = [(one, other) for one, other in fits if text in (None, one) and target in (None, other)]
    if names is ASKED and text is not None and target is not None:
        fits = [(text, target)]
    if not fits or len(config.text) > 1:
        return None
    one, other = fits[0]
    parts = _parts_of_prompts(columns, sample, {one, other}, one)
    is_alpaca = (_plain(one), _plain(other)) == ("instruction", "output")
    found = ALPACA if is_alpaca else PROMPT_COMPLETION
    if config.conversations in (ALPACA, PROMPT_COMPLETION):
        found = config.conversations
    return _Found(found, one, other, "as asked" if text and target else "their names", parts)


def find_prompts_alone(columns: Sequence[str], sample: Sequence[Row], text: str | None = None) -> ColumnsFound | None:
    """Prompts without answers, to be answered: the column ``text``, or the first that is called as in ``ASKED``."""
    plain = {_plain(name): name for name in reversed(columns)}
    one = text or next((plain[name] for name, _ in ASKED if name in plain), None)
    if one is None:
        return None
    found = _Found(PROMPT_COMPLETION, one, None, parts=_parts_of_prompts(columns, sample, {one}, one))
    ignored = [name for name in columns if name not in (one, *found.parts.values())]
    notes = [f"prompts in column {one!r}", *(f"{part} in column {name!r}" for part, name in found.parts.items())]
    notes += [f"columns not used: {', '.join(map(repr, ignored))}"] if ignored else []
    return ColumnsFound(
        text=[one],
        target=None,
        kind="conversations",
        conversations=PROMPT_COMPLETION,
        parts=dict(found.parts),
        announcements=notes,
    )


def _parts_of_prompts(columns: Sequence[str], sample: Sequence[Row], used: set[str], prompt: str) -> dict[str, str]:
    """What stands beside a prompt; of an instruction or a question also what it is about."""
    parts = _parts(columns, sample, used, (SYSTEM, HISTORY, TOOLS))
    plain = {_plain(name): name for name in reversed(columns) if name not in used}
    about = next((plain[name] for name in _INPUTS if name in plain), None)
    return {**parts, INPUT: about} if about is not None and _plain(prompt) in _TAKE_INPUTS else parts


def _parts(columns: Sequence[str], sample: Sequence[Row], used: set[str], wanted: Sequence[str]) -> dict[str, str]:
    """Columns of the parts' names that hold what such a part is; a history of illness is none."""
    plain = {_plain(name): name for name in reversed(columns) if name not in used}
    return {part: plain[part] for part in wanted if part in plain and _can_be(part, plain[part], sample)}


def _can_be(part: str, name: str, sample: Sequence[Row]) -> bool:
    cells = (cell for row in sample if not is_missing(cell := row.cells.get(name)))
    first = next(cells, None)
    if first is None:
        return True
    if part in (HISTORY, TOOLS, FUNCTIONS):
        return isinstance(parsed(first), list | tuple | dict)
    return isinstance(first, bool if part == PARALLEL else str)


def _is_free_text(name: str, sample: Sequence[Row]) -> bool:
    """Whether cells are messages, or texts that hardly repeat and are no numbers."""
    cells: list[Cell] = [cell for row in sample if not is_missing(cell := row.cells.get(name))]
    texts = [cell_text(cell) for cell in cells if isinstance(cell, str)]
    if not cells or not all(isinstance(cell, str) or written_as(cell) for cell in cells):
        return False
    if sum(number(text) is not None for text in texts) > 0.5 * len(texts):
        return False
    return not texts or len(set(texts)) > MOST_REPEATED * len(texts)


def _as_found(found: _Found, columns: Sequence[str], config: DataConfig) -> ColumnsFound:
    used = {found.text, found.target, *found.parts.values(), config.group, config.time}
    ignored = [name for name in columns if name not in used]
    if found.target is None:
        said = f"conversations in column {found.text!r} ({found.format}: {found.why})"
    else:
        said = f"prompts in column {found.text!r}, their answers in column {found.target!r} ({found.why})"
    notes = [said, *(f"{part.replace('_', ' ')} in column {name!r}" for part, name in found.parts.items())]
    notes += [f"columns not used: {', '.join(map(repr, ignored))}"] if ignored else []
    judged = [name for name in ignored if _plain(name) in _JUDGEMENTS]
    if judged:
        notes.append(f"{', '.join(map(repr, judged))} may say which answers are good: that is not looked at here")
    return ColumnsFound(
        text=[found.text],
        target=found.target,
        group=config.group,
        time=config.time,
        kind="conversations",
        conversations=found.format,
        parts=dict(found.parts),
        announcements=notes,
    )


def _none_found(columns: Sequence[str], sample: Sequence[Row], found: _Found | None, wanted: str | None) -> DataError:
    listing = f"columns: {', '.join(columns)}"
    if found is not None:
        listing += f"; column {found.text!r} is written as {found.format} writes it"
    return DataError(
        f"no conversations{f' as {wanted} writes them' if wanted else ''} were found",
        where=sample[0].place.file,
        why=f"{listing}; wanted: messages (a list of role and content), conversations (a list of from and value), "
        "instruction and output, or prompt and completion",
        remedy="name the columns: --text MESSAGES, or --text PROMPT --target ANSWER",
    )


def _check_named(columns: Sequence[str], config: DataConfig) -> None:
    roles = [("--text", name) for name in config.text]
    roles += [
        (f"--{role}", name)
        for role, name in (("target", config.target), ("group", config.group), ("time", config.time))
        if name
    ]
    faults = []
    for option, name in roles:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
            hint = f"did you mean {option} {near[0]}? " if near else ""
            faults.append(Fault(f"there is no column {name!r}", option, None, f"{hint}columns: {', '.join(columns)}"))
    if faults:
        raise DataError(faults)


def _plain(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", name.strip().casefold())
