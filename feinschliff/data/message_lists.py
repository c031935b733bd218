"""Cells that hold messages, tools and calls of tools, read as OpenAI and ShareGPT write them. Knows no columns.

What cannot be used is refused with the reason, in the words that a dropped row's reason has.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from feinschliff.data.conversations import ASSISTANT, DEVELOPER, SYSTEM, TOOL, TOOL_CALLS, USER, Message, WeightedSpan
from feinschliff.data.tables import Cell, kind_of

CALLS = "function_call"
"""A role of ShareGPT's, and a key of OpenAI's older files."""
ROLES = {
    "system": SYSTEM, "developer": DEVELOPER,
    "user": USER, "human": USER,
    "assistant": ASSISTANT, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "bing": ASSISTANT, "bard": ASSISTANT,
    "model": ASSISTANT, CALLS: ASSISTANT,
    "tool": TOOL, "function": TOOL, "observation": TOOL,
}  # fmt: skip
"""Role as files write it, in lower case -> ours."""
TEXT_PARTS = ("text", "input_text", "output_text")
_OWN_KEYS = ("role", "from", "content", "value", "weight", TOOL_CALLS, CALLS)
_SHOWN = 40


class Unusable(Exception):
    """A row cannot be used; its text is the reason."""


def parsed(cell: Cell) -> Cell:
    """What a csv keeps of lists and objects: JSON, or Python's way of writing them. Any other text stays as it is."""
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("{", "["):
        return cell
    for read in (json.loads, ast.literal_eval):
        try:
            value: Cell = read(cell)
            return value
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return cell


def message_list(cell: Cell) -> list[Cell] | None:
    """The messages of a cell: a list, its text, or an object of equally long lists (parquet); None: it holds none."""
    cell = parsed(cell)
    if isinstance(cell, dict) and cell and all(isinstance(column, list) for column in cell.values()):
        if len({len(column) for column in cell.values()}) > 1:
            return None
        return [dict(zip(cell, values, strict=True)) for values in zip(*cell.values(), strict=True)]
    return list(cell) if isinstance(cell, list | tuple) else None


def written_as(cell: Cell) -> str | None:
    """``openai`` or ``sharegpt``, where most items are messages with a role that is known; else None."""
    items = message_list(cell) or []
    for name, role in (("openai", "role"), ("sharegpt", "from")):
        other = ("content", TOOL_CALLS, CALLS) if name == "openai" else ("value",)
        found = [
            item
            for item in items
            if isinstance(item, Mapping)
            and str(item.get(role)).casefold() in ROLES
            and any(key in item for key in other)
        ]
        if len(found) * 2 > len(items):
            return name
    return None


def read_messages(items: Sequence[Cell]) -> list[Message]:
    """The messages of a list; empty answers are let pass.

    Raises:
        Unusable: an item is no message, its role is not known, its content is not text, its weight is out of range, its
            tool calls cannot be read, or the user says nothing.
    """
    return [_message(item, number) for number, item in enumerate(items, 1)]


def is_empty_answer(message: Message) -> bool:
    """Whether the assistant says nothing and calls no tool."""
    return message.role == ASSISTANT and not message.content.strip() and not message.extra.get(TOOL_CALLS)


def _message(item: Cell, number: int) -> Message:
    where = f"message {number}"
    if not isinstance(item, Mapping):
        raise Unusable(f"a message that is not an object: {where} is {kind_of(item)}")
    name = item.get("role") or item.get("from")
    if not isinstance(name, str) or not name.strip():
        raise Unusable(f"a message without a role: {where}")
    role = ROLES.get(name.strip().casefold())
    if role is None:
        raise Unusable(f"an unknown role: {where}{_says(name)}")
    content, spans = _content(item.get("value") if item.get("content") is None else item["content"], where)
    calls = _calls(item, where)
    if name.strip().casefold() == CALLS:
        content, calls = "", [_call(one, where) for one in _listed(content, where)]
    if calls and role != ASSISTANT:
        raise Unusable(f"a tool call of another than the assistant: {where}")
    if role == USER and not content.strip():
        raise Unusable(f"an empty message: {where} (user)")
    extra = {str(key): value for key, value in item.items() if key not in _OWN_KEYS and value is not None}
    extra |= {TOOL_CALLS: calls} if calls else {}
    return Message(role, content, _weight(item.get("weight"), where), spans, extra)


def _content(cell: Cell, where: str) -> tuple[str, tuple[WeightedSpan, ...]]:
    """Text, or parts of which each is text; parts follow each other without anything between."""
    if cell is None or isinstance(cell, str):
        return cell or "", ()
    if not isinstance(cell, list | tuple):
        raise Unusable(f"a content that is not a text: {where} holds {kind_of(cell)}")
    content, spans = "", []
    for part in cell:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if kind not in TEXT_PARTS:
            raise Unusable(f"a part that is not a text: {where}{_says(kind)}")
        if not isinstance(text, str):
            raise Unusable(f"a part that is not a text: {where} holds {kind_of(text)}")
        weight = _weight(part.get("weight"), where) if isinstance(part, Mapping) else None
        if weight is not None and text:
            spans.append(WeightedSpan(len(content), len(content) + len(text), weight))
        content += text
    return content, tuple(spans)


def _weight(cell: Cell, where: str) -> float | None:
    if cell is None:
        return None
    if isinstance(cell, bool) or not isinstance(cell, int | float) or math.isnan(cell) or not 0 <= cell <= 1:
        raise Unusable(f"a weight that is not a number from 0 to 1: {where}{_says(cell)}")
    return float(cell)


def _calls(item: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    given, old = parsed(item.get(TOOL_CALLS)), item.get(CALLS)
    if given is not None and not isinstance(given, list | tuple):
        raise Unusable(f"tool calls that are not a list: {where} holds {kind_of(given)}")
    return [_call(one, where) for one in (given or ([old] if old else []))]


def _call(cell: Cell, where: str) -> dict[str, Any]:
    """One call in the one form; its arguments are an object."""
    call = cell if isinstance(cell, Mapping) else {}
    function = call["function"] if isinstance(call.get("function"), Mapping) else call
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise Unusable(f"a tool call without a name: {where}")
    arguments = function.get("arguments", function.get("parameters"))
    read = {} if arguments is None or arguments == "" else _json(arguments)
    if not isinstance(read, dict):
        raise Unusable(f"arguments of a tool call that are not a JSON object: {where}{_says(arguments)}")
    found = {"type": "function", "function": {"name": name, "arguments": read}}
    return found | ({"id": call["id"]} if call.get("id") is not None else {})


def _listed(content: str, where: str) -> list[Cell]:
    """The calls of a ``function_call`` message: one, or a list."""
    value = _json(content)
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list) or not value:
        raise Unusable(f"a function call that is not JSON: {where}{_says(content)}")
    return value


def _json(cell: Cell) -> Cell:
    """JSON text as its value; None where it is none. Other cells stay."""
    if not isinstance(cell, str):
        return cell
    try:
        value: Cell = json.loads(cell)
        return value
    except (ValueError, RecursionError):
        return None


def read_tools(cell: Cell, column: str) -> tuple[Mapping[str, Any], ...]:
    """The tools of a row: a list, its JSON text, or nothing. Bare functions are put into OpenAI's form.

    Raises:
        Unusable: they are no list of objects with names.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return ()
    found = _json(cell)
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list | tuple):
        raise Unusable(f"column {column!r} holds no JSON list of tools{_says(cell)}")
    return tuple(_tool(one, column) for one in found)


def _tool(cell: Cell, column: str) -> Mapping[str, Any]:
    tool = cell if isinstance(cell, Mapping) else {}
    function = tool["function"] if isinstance(tool.get("function"), Mapping) else tool
    if isinstance(function.get("name"), str) and function["name"]:
        return {"type": "function", "function": dict(function)} if function is tool else {"type": "function", **tool}
    raise Unusable(f"column {column!r} holds a tool without a name{_says(cell)}")


def _says(cell: Cell) -> str:
    """What stands there, at the end of a reason: see ``rows_to_examples.count_reasons``."""
    text = cell if isinstance(cell, str) else json.dumps(cell, default=str, ensure_ascii=False)
    return f" (it says {text[:_SHOWN]!r})"
