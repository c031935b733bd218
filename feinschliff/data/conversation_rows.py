"""Rows to conversations, whatever their format: lists of messages, or a prompt and its answer. Knows no file format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feinschliff.data.columns import cell_text, is_missing
from feinschliff.data.conversation_columns import FUNCTIONS, HISTORY, INPUT, OPENAI, PARALLEL, SHAREGPT, SYSTEM, TOOLS
from feinschliff.data.conversations import ASSISTANT, INSTRUCTS, USER, Conversation, Message, as_text
from feinschliff.data.examples import Example
from feinschliff.data.message_lists import (
    Unusable,
    is_empty_answer,
    message_list,
    parsed,
    read_messages,
    read_tools,
    written_as,
)
from feinschliff.data.rows_to_examples import RowReader, count_reasons, dropped_row, group_and_time
from feinschliff.data.tables import Cell, Row, kind_of

_SHOWN_CHARACTERS = 40


@dataclass(slots=True)
class ConversationReader(RowReader):
    """Rows to examples with a conversation, one each.

    ``texts`` is the prompt (all before the last answer) as one text, ``references`` the last answer, tool calls as
    JSON; where a cell of answers holds several texts, the first is the answer and all are references. What follows the
    last answer is left out, because nothing could be learned of it; to predict (``needs_labels`` false) it is what is
    asked, and there may be no answer.
    """

    keeps_end: bool = False
    """What follows the last answer stays, also where answers are needed."""
    num_cut: int = 0
    """Conversations of which such an end was left out."""

    def example(self, row: Row) -> Example | None:
        """See ``RowReader``."""
        number = self.num_rows
        self.num_rows += 1
        try:
            conversation, others = self._conversation(row.cells)
        except Unusable as reason:
            shown = Example((_shown(row.cells.get(self.columns.text[0])),), (), row.place)
            self.dropped.append(dropped_row(shown, str(reason)))
            return None
        group, time = group_and_time(row, self.columns)
        answer = conversation.answer
        return Example(
            (as_text(conversation.prompt),),
            (),
            row.place,
            group,
            time,
            number,
            references=() if answer is None else (answer.said, *others),
            conversation=conversation,
        )

    def _conversation(self, cells: Mapping[str, Cell]) -> tuple[Conversation, tuple[str, ...]]:
        """The conversation of a row, and other texts that would be right to answer.

        Raises:
            Unusable: see ``message_lists``; or there is no answer and one is needed.
        """
        is_list = self.columns.conversations in (OPENAI, SHAREGPT)
        messages, others, start = (self._listed(cells), (), None) if is_list else self._asked(cells)
        system = self._part(cells, SYSTEM)
        if not is_missing(system) and not (messages and messages[0].role in INSTRUCTS):
            messages.insert(0, Message("system", _text(system, self.columns.parts[SYSTEM])))
            start = None if start is None else start + 1
        said = self._part(cells, PARALLEL)
        parallel = said if isinstance(said, bool) else None
        conversation = Conversation(tuple(self._checked(messages)), self._tools(cells), parallel, start)
        _refuse_half_characters(conversation)
        return conversation, others

    def _part(self, cells: Mapping[str, Cell], part: str) -> Cell:
        name = self.columns.parts.get(part)
        return None if name is None else cells.get(name)

    def _listed(self, cells: Mapping[str, Cell]) -> list[Message]:
        """The messages of a column of lists. To predict, a mere text is the user's."""
        name = self.columns.text[0]
        cell = cells.get(name)
        if is_missing(cell):
            raise Unusable(f"no messages in column {name!r}")
        items = message_list(cell)
        if isinstance(cell, str) and not (items and isinstance(items[0], Mapping)) and not self.needs_labels:
            return [Message(USER, cell)]
        if not items:
            said = f" (it says {cell[:_SHOWN_CHARACTERS]!r})" if isinstance(cell, str) else f": it is {kind_of(cell)}"
            raise Unusable(f"no list of messages in column {name!r}{said}")
        return read_messages(items)

    def _asked(self, cells: Mapping[str, Cell]) -> tuple[list[Message], tuple[str, ...], int]:
        """The messages of a prompt and its answer, each a text or a list of messages; and where the answer begins."""
        name, target = self.columns.text[0], self.columns.target
        messages = _as_messages(cells.get(name))
        if messages is None:
            given = [(name, cells.get(name)), (self.columns.parts.get(INPUT, ""), self._part(cells, INPUT))]
            texts = [_text(cell, column) for column, cell in given if not is_missing(cell)]
            if not texts:
                raise Unusable(f"no text in column {name!r}{_missing(cells.get(name))}")
            messages = [*_history(self._part(cells, HISTORY)), Message(USER, "\n".join(texts))]
        answer = None if target is None else cells.get(target)
        if (answered := _as_messages(answer)) is not None:
            return messages + answered, (), len(messages)
        given_answers = answer if isinstance(answer, list | tuple) else [answer]
        right = tuple(dict.fromkeys(_text(one, str(target)) for one in given_answers if not is_missing(one)))
        if not right and self.needs_labels:
            raise Unusable(f"no text in column {target!r}{_missing(answer)}")
        return messages + [Message(ASSISTANT, text) for text in right[:1]], right[1:], len(messages)

    def _tools(self, cells: Mapping[str, Cell]) -> tuple[Mapping[str, object], ...]:
        named = [self.columns.parts[part] for part in (TOOLS, FUNCTIONS) if part in self.columns.parts]
        return tuple(tool for name in named for tool in read_tools(cells.get(name), name))

    def _checked(self, messages: list[Message]) -> list[Message]:
        """The messages up to the last answer; all of them to predict, without an empty last answer."""
        while not self.needs_labels and messages and is_empty_answer(messages[-1]):
            messages = messages[:-1]
        empty = next((place for place, message in enumerate(messages, 1) if is_empty_answer(message)), None)
        if empty is not None:
            raise Unusable(f"an empty answer: message {empty}")
        last = max((place for place, message in enumerate(messages, 1) if message.role == ASSISTANT), default=0)
        if not messages:
            raise Unusable("no message to be answered")
        if self.needs_labels and not last:
            raise Unusable("no message of the assistant")
        if not self.needs_labels or self.keeps_end or last == len(messages):
            return messages
        self.num_cut += 1
        return messages[:last]

    def announcements(self) -> list[str]:
        """See ``RowReader``."""
        said = [f"{count:,} rows dropped: {reason}" for reason, count in count_reasons(self.dropped).items()]
        if self.num_cut:
            said.append(f"{self.num_cut:,} conversations go on after the last answer; that end is left out")
        return said


def _as_messages(cell: Cell) -> list[Message] | None:
    """The messages of a cell of prompts or answers; None where it is a text, also one that is JSON."""
    if isinstance(cell, str) and written_as(cell) is None:
        return None
    items = message_list(cell)
    return read_messages(items) if items and isinstance(items[0], Mapping) else None


def _text(cell: Cell, column: str) -> str:
    """A text as it is, blanks and all; a number as in any table."""
    if isinstance(cell, Mapping | list | tuple):
        raise Unusable(f"column {column!r} holds {kind_of(cell)}, not a text")
    return cell if isinstance(cell, str) else cell_text(cell)


def _missing(cell: Cell) -> str:
    return f" (it says {cell.strip()!r})" if isinstance(cell, str) and cell.strip() else ""


def _history(cell: Cell) -> list[Message]:
    """Earlier turns: pairs of what the user and the assistant said."""
    pairs = [] if is_missing(cell) else parsed(cell)
    if not isinstance(pairs, list | tuple):
        raise Unusable("a history that is not a list of pairs")
    messages = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise Unusable("a history that is not a list of pairs")
        if not pair[0].strip():
            raise Unusable("a history with an empty turn")
        messages += [Message(USER, pair[0]), Message(ASSISTANT, pair[1])]
    return messages


def _refuse_half_characters(conversation: Conversation) -> None:
    """Half of a surrogate pair, as broken JSON escapes leave it, can be neither written nor tokenised."""
    try:
        for message in conversation.messages:
            message.content.encode()
            if message.extra:
                json.dumps(message.extra, ensure_ascii=False, default=str).encode()
        json.dumps(conversation.tools, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise Unusable("a text with half a character (a broken \\ud... escape)") from error


def _shown(cell: Cell) -> str:
    """How an unusable row begins: what its first message or prompt says."""
    items: Sequence[Cell] = message_list(cell) or []
    first = items[0] if items else cell
    if isinstance(first, Mapping):
        first = first.get("content") or first.get("value")
    return first if isinstance(first, str) else "" if first is None else str(first)
