"""Conversations as rows of a format: OpenAI's, ShareGPT's, Alpaca's, prompts with completions. Knows no file.

What a format has no words for is named, or the conversation is refused where it would become another one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from feinschliff.data.columns import is_missing
from feinschliff.data.conversation_columns import ALPACA, OPENAI, PROMPT_COMPLETION, SHAREGPT
from feinschliff.data.conversations import (
    ASSISTANT,
    DEVELOPER,
    INSTRUCTS,
    SYSTEM,
    TOOL,
    TOOL_CALLS,
    USER,
    Conversation,
    Message,
)
from feinschliff.data.tables import Cell

COLUMNS: dict[str, tuple[str, ...]] = {
    OPENAI: ("messages", "tools", "parallel_tool_calls"),
    SHAREGPT: ("conversations", "system", "tools"),
    ALPACA: ("instruction", "input", "output", "system", "history"),
    PROMPT_COMPLETION: ("system", "prompt", "completion"),
}
"""Format -> the columns its rows may have."""
NESTED = (OPENAI, SHAREGPT)
"""Formats of lists of messages, which a csv has no place for."""
_WEIGHS_MESSAGES = (OPENAI, SHAREGPT)
_FROM = {USER: "human", ASSISTANT: "gpt", TOOL: "observation", SYSTEM: "system", DEVELOPER: "system"}


class Unwritable(Exception):
    """The format cannot say this conversation; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Written:
    """A conversation in a format's words."""

    cells: Mapping[str, Cell]
    lost: Sequence[str] = field(default_factory=tuple)
    """What the format has no words for, each once: weights of parts, tools, names ..."""


def written(conversation: Conversation, format_name: str) -> Written:
    """The row of a conversation; columns that would be empty are left out.

    Args:
        format_name: one of ``COLUMNS``.

    Raises:
        Unwritable: it would be another conversation without what the format cannot say.
    """
    found = _WRITERS[format_name](conversation)
    return Written(found.cells, tuple(dict.fromkeys(found.lost)))


def _openai(conversation: Conversation) -> Written:
    cells: dict[str, Cell] = {"messages": [_openai_message(message) for message in conversation.messages]}
    if conversation.tools:
        cells["tools"] = [dict(tool) for tool in conversation.tools]
    if conversation.parallel_tool_calls is not None:
        cells["parallel_tool_calls"] = conversation.parallel_tool_calls
    return Written(cells)


def _openai_message(message: Message) -> dict[str, Cell]:
    calls = message.extra.get(TOOL_CALLS)
    content: Cell = _parts(message) if message.spans else message.content
    found: dict[str, Cell] = {"role": message.role, "content": content or (None if calls else "")}
    found |= {key: value for key, value in message.extra.items() if key != TOOL_CALLS}
    if calls:
        found[TOOL_CALLS] = [_with_text_arguments(call) for call in calls]
    return found if message.weight is None else found | {"weight": _number(message.weight)}


def _with_text_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = json.dumps(function["arguments"], ensure_ascii=False, default=str)
    return {**call, "function": {**function, "arguments": arguments}}


def _parts(message: Message) -> list[dict[str, Cell]]:
    """The content cut where weights change."""
    parts: list[dict[str, Cell]] = []
    done = 0
    for span in message.spans:
        if span.start > done:
            parts.append({"type": "text", "text": message.content[done : span.start]})
        text = message.content[span.start : span.end]
        parts.append({"type": "text", "text": text, "weight": _number(span.weight)})
        done = span.end
    rest = message.content[done:]
    return [*parts, {"type": "text", "text": rest}] if rest else parts


def _number(weight: float) -> float | int:
    return int(weight) if weight.is_integer() else weight


def _sharegpt(conversation: Conversation) -> Written:
    messages = list(conversation.messages)
    _refuse_unlearned(messages, SHAREGPT)
    cells: dict[str, Cell] = {}
    lost = ["parallel_tool_calls"] if conversation.parallel_tool_calls is not None else []
    lost += [one for message in messages for one in _lost_of(message, (TOOL_CALLS,))]
    if len(messages) > 1 and messages[0].role in INSTRUCTS and messages[0].weight is None:
        first = messages.pop(0).content
        cells |= {"system": first} if first.strip() else {}
    cells["conversations"] = [_sharegpt_message(message) for message in messages]
    if conversation.tools:
        cells["tools"] = json.dumps([_bare(tool) for tool in conversation.tools], ensure_ascii=False, default=str)
    ids = [call for message in messages for call in message.extra.get(TOOL_CALLS, ()) if "id" in call]
    return Written(cells, [*lost, *(["ids of tool calls"] if ids else [])])


def _sharegpt_message(message: Message) -> dict[str, Cell]:
    calls = [call["function"] for call in message.extra.get(TOOL_CALLS, ())]
    if calls and message.content.strip():
        raise Unwritable("sharegpt cannot say a tool call and a text in one message")
    value = (
        json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False, default=str)
        if calls
        else message.content
    )
    found: dict[str, Cell] = {"from": "function_call" if calls else _FROM[message.role], "value": value}
    return found if message.weight is None else found | {"weight": _number(message.weight)}


def _bare(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function: Mapping[str, Any] = tool["function"]
    return function if set(tool) == {"type", "function"} else tool


def _alpaca(conversation: Conversation) -> Written:
    system, turns = _turns(conversation, ALPACA)
    (asked, answer), history = turns[-1], [list(turn) for turn in turns[:-1]]
    cells: dict[str, Cell] = {"instruction": asked, "input": "", "output": answer}
    cells |= {"system": system} if system else {}
    cells |= {"history": history} if history else {}
    return Written(cells, _lost_around(conversation))


def _prompt_completion(conversation: Conversation) -> Written:
    system, turns = _turns(conversation, PROMPT_COMPLETION)
    if len(turns) > 1:
        raise Unwritable("prompt_completion cannot say several turns")
    cells: dict[str, Cell] = {"prompt": turns[0][0], "completion": turns[0][1]}
    cells |= {"system": system} if system else {}
    return Written(cells, _lost_around(conversation))


def _turns(conversation: Conversation, name: str) -> tuple[str, list[tuple[str, str]]]:
    """What the system says, and the turns: what the user and the assistant say.

    Raises:
        Unwritable: there is something else.
    """
    messages = list(conversation.messages)
    if any(message.role == TOOL or message.extra.get(TOOL_CALLS) for message in messages):
        raise Unwritable(f"{name} cannot say calls of tools and their results")
    _refuse_unlearned(messages, name)
    system = messages.pop(0).content if messages[0].role in INSTRUCTS else ""
    roles = [message.role for message in messages]
    if roles != [USER, ASSISTANT] * (len(messages) // 2) or not roles:
        raise Unwritable(f"{name} cannot say anything but turns of user and assistant")
    if any(is_missing(message.content) for message in messages):
        raise Unwritable(f"{name} cannot say a message of one word that tables have for nothing (null, nan)")
    return system, list(zip(_contents(messages[::2]), _contents(messages[1::2]), strict=True))


def _refuse_unlearned(messages: Sequence[Message], name: str) -> None:
    """What is never to be learned (weight 0) would be, where the format cannot say so.

    Raises:
        Unwritable: an answer, or a part of one, is such.
    """
    for message in messages:
        if message.role != ASSISTANT or (message.weight == 0 and name in _WEIGHS_MESSAGES):
            continue
        if message.weight == 0:
            raise Unwritable(f"{name} cannot say that an answer is not to be learned (weight 0)")
        if any(span.weight == 0 for span in message.spans):
            raise Unwritable(f"{name} cannot say that a part of an answer is not to be learned (weight 0)")


def _contents(messages: Sequence[Message]) -> list[str]:
    return [message.content for message in messages]


def _lost_around(conversation: Conversation) -> list[str]:
    """What formats without messages lose."""
    lost = [one for message in conversation.messages for one in _lost_of(message)]
    lost += ["weights of messages"] if any(one.weight is not None for one in conversation.messages) else []
    lost += ["tools"] if conversation.tools else []
    return lost + (["parallel_tool_calls"] if conversation.parallel_tool_calls is not None else [])


def _lost_of(message: Message, said: Sequence[str] = ()) -> list[str]:
    """Of one message: weights of its parts, its keys but those that are ``said``, the role of a developer."""
    lost = ["weights of parts"] if message.spans else []
    lost += [key for key in message.extra if key not in said]
    return lost + (["the role developer"] if message.role == DEVELOPER else [])


_WRITERS: dict[str, Callable[[Conversation], Written]] = {
    OPENAI: _openai,
    SHAREGPT: _sharegpt,
    ALPACA: _alpaca,
    PROMPT_COMPLETION: _prompt_completion,
}
