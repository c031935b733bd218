"""Rows to a question, the text that may answer it, and its answers as characters of that text. Knows no tokenizer.

Rows are read as Hugging Face has them (``answers``: texts and starts), as lists of ``{text, answer_start}`` (SQuAD),
or flat (``answer_text``, ``answer_start``). Files nested as SQuAD's own are laid flat first: see ``squad_files``.
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from feinschliff.data.columns import cell_text, is_missing
from feinschliff.data.examples import Answer, Example
from feinschliff.data.numbers import number
from feinschliff.data.rows_to_examples import RowReader, count_reasons, dropped_row, group_and_time
from feinschliff.data.tables import Cell, Row
from feinschliff.errors import DataError

QUESTION_NAMES = ("question", "query", "frage")
CONTEXT_NAMES = ("context", "passage", "paragraph", "document", "text", "kontext")
ANSWER_NAMES = ("answers", "answer_text", "answer", "antwort")
START_NAMES = ("answer_start", "answer_starts", "start")
TITLE_NAMES = ("title", "article")
IMPOSSIBLE = "is_impossible"
NEARBY = 32
"""A start may be off by so many characters (bytes counted for characters, blanks lost) and still say which is meant."""
MOVED = "answers do not stand at their answer_start; they were found in the text"
RECASED = "answers are written otherwise in the text (upper and lower case) and were taken as they stand there"
TRIMMED = "answers lost the blanks at their ends"
LOST = "answers were left out, others of the same question stand in the text"


class AnswerColumns(NamedTuple):
    """Which column is what."""

    question: str
    context: str
    target: str


def looks_like_answers(
    columns: Sequence[str], sample: Sequence[Row], target: str | None, text: Sequence[str], asked: bool
) -> AnswerColumns | None:
    """The columns of extractive question answering, or None where the table holds something else.

    By name, case aside, and by content: answers with their starts. Where such rows were ``asked`` for, answers need no
    starts: they are looked for in the text.

    Args:
        text: the columns of question and context, in this order, where they are known.
    """
    plain = {name.strip().casefold(): name for name in reversed(columns)}
    asked_texts = (text[0], text[1]) if len(text) == 2 else None
    question, context = asked_texts or (_named(plain, QUESTION_NAMES), _named(plain, CONTEXT_NAMES))
    found = target or _named(plain, ANSWER_NAMES)
    if question is None or context is None or found is None or len({question, context, found}) < 3:
        return None
    if not {question, context, found} <= set(columns):
        return None
    starts = any(name in plain for name in START_NAMES)
    cells = [cell for row in sample if not is_missing(cell := row.cells.get(found))]
    nested = [cell for cell in cells if _has_starts(cell)]
    fits = bool(cells) and len(nested) >= 0.8 * len(cells)
    return AnswerColumns(question, context, found) if fits or starts or asked else None


def _named(plain: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((plain[name] for name in names if name in plain), None)


def _has_starts(cell: Cell) -> bool:
    try:
        items = _items(cell)
    except DataError:
        return False
    return items is not None and all(start is not None for _, start in items)


def _items(cell: Cell) -> list[tuple[Cell, Cell]] | None:
    """Texts and starts as they are written; None where the cell is a mere text.

    Raises:
        DataError: it is neither.
    """
    if isinstance(cell, str) and cell.lstrip()[:1] in ("{", "["):
        cell = _parsed(cell)
    if isinstance(cell, str):
        return None
    if isinstance(cell, dict) and "text" in cell:
        texts, starts = (_listed(cell.get(name)) for name in ("text", "answer_start"))
        starts = starts or [None] * len(texts)
        if len(texts) != len(starts):
            raise DataError(f"as many starts as answers are needed: {len(texts)} answers, {len(starts)} starts")
        return list(zip(texts, starts, strict=True))
    if isinstance(cell, list | tuple) and all(isinstance(item, dict) and "text" in item for item in cell):
        return [(item["text"], item.get("answer_start")) for item in cell if isinstance(item, dict)]
    raise DataError(f"these are no answers: {str(cell)[:60]!r}")


def _parsed(cell: str) -> Cell:
    """What a csv keeps of lists and objects: json, or Python's way of writing them. A text that only looks so stays."""
    for read in (json.loads, ast.literal_eval):
        try:
            value: Cell = read(cell)
            return value
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return cell


def _listed(cell: Cell) -> list[Cell]:
    return list(cell) if isinstance(cell, list | tuple) else [] if cell is None else [cell]


def read_answers(cells: Mapping[str, Cell], target: str, context: str, repairs: Counter[str]) -> tuple[Answer, ...]:
    """The answers of a row, each once, in the order they are given; none where the text has none.

    Args:
        repairs: gets the number of answers that were moved, changed or left out, by what was done.

    Raises:
        DataError: the row says neither what the answer is nor that there is none, or no answer stands in the text.
    """
    cell, impossible = cells.get(target), cell_text(cells.get(IMPOSSIBLE)).casefold() in ("true", "1", "yes")
    if impossible:
        return ()
    items = None if cell is None else _items(cell)
    if items is None:
        items = _flat(cells, target)
    found: dict[Answer, None] = {}
    faults: list[DataError] = []
    for text, start in items:
        try:
            found[located(text, start, context, repairs)] = None
        except DataError as error:
            faults.append(error)
    if faults and not found:
        raise faults[0]
    repairs[LOST] += len(faults)
    return tuple(found)


def _flat(cells: Mapping[str, Cell], target: str) -> list[tuple[Cell, Cell]]:
    """Text and start that have columns of their own; a start below zero says that there is no answer."""
    plain = {name.strip().casefold(): name for name in cells}
    name = _named(plain, START_NAMES)
    start = None if name is None else number(cells.get(name))
    if not cell_text(cells.get(target)):
        if start is not None and start < 0:
            return []
        raise DataError(
            f"no answer in column {target!r} (that the text has none is said by an empty list, {IMPOSSIBLE}, or "
            "answer_start -1)"
        )
    return [(cells.get(target), start)]


def located(text: Cell, start: Cell, context: str, repairs: Counter[str]) -> Answer:
    """Where an answer stands: at its start, or at the only place, or at the only one near its start.

    Raises:
        DataError: it does not stand in the text, or in several places of which none is meant more than the others.
    """
    wanted, begin = cell_text(text), None if start is None else number(start)
    if not wanted:
        raise DataError("an answer without text")
    if begin is not None and not float(begin).is_integer():
        raise DataError(f"answer_start is no whole number: {start}")
    raw = text if isinstance(text, str) else wanted
    at = None if begin is None else int(begin) + len(raw) - len(raw.lstrip())
    if at is not None and at >= 0 and context.startswith(wanted, at):
        repairs[TRIMMED] += raw != wanted
        return Answer(at, at + len(wanted))
    exact = _places(wanted, context)
    places = exact or _places(wanted.casefold(), _folded(context))
    near = [place for place in places if at is not None and abs(place - at) <= NEARBY]
    chosen = places if len(places) == 1 else near
    if not places:
        raise DataError(f"the answer does not stand in the text: {wanted[:60]!r}")
    if len(chosen) != 1:
        raise DataError(f"the answer stands in the text several times, not at answer_start: {wanted[:60]!r}")
    repairs[MOVED] += at is not None and chosen[0] != at
    repairs[RECASED] += not exact
    return Answer(chosen[0], chosen[0] + len(wanted))


def _places(wanted: str, context: str) -> list[int]:
    found, at = [], context.find(wanted)
    while at >= 0:
        found.append(at)
        at = context.find(wanted, at + 1)
    return found


def _folded(context: str) -> str:
    """In lower case, every character still in its place."""
    return "".join(folded if len(folded := one.casefold()) == 1 else one for one in context)


@dataclass(slots=True)
class AnswerReader(RowReader):
    """Turns rows into questions with their answers and keeps count of what it leaves out or repairs.

    Questions of one article (column ``title``), where there is none of one text, are a group: they stay on one side
    of a split.
    """

    repairs: Counter[str] = field(default_factory=Counter)

    def example(self, row: Row) -> Example | None:
        """One row's example; None, and noted, where it cannot be used. The text stays as it is: starts count in it."""
        place, cells, names = self.num_rows, row.cells, self.columns.text
        self.num_rows += 1
        question, context = cell_text(cells.get(names[0])), cells.get(names[1])
        try:
            if not question:
                raise DataError(f"no text in column {names[0]!r}{self._id(cells)}")
            if not isinstance(context, str) or is_missing(context):
                raise DataError(f"no text in column {names[1]!r}{self._id(cells)}")
            answers = None
            if self.needs_labels:
                answers = read_answers(cells, self.columns.target or "", context, self.repairs)
        except DataError as error:
            shown = Example((question, cell_text(context)), (), row.place)
            self.dropped.append(dropped_row(shown, error.faults[0].what))
            return None
        group, time = group_and_time(row, self.columns)
        group = group or next((cell_text(cells[name]) for name in TITLE_NAMES if name in cells), "") or context
        return Example((question, context), (), row.place, group, time, place, answers=answers)

    def _id(self, cells: Mapping[str, Cell]) -> str:
        return f": id {cells['id']}" if cells.get("id") else ""

    def announcements(self) -> list[str]:
        """What was left out or repaired, in sentences."""
        said = [f"{count:,} rows dropped: {reason}" for reason, count in count_reasons(self.dropped).items()]
        return said + [f"{count:,} {what}" for what, count in self.repairs.items() if count]
