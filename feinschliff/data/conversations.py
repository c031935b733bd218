"""Conversations as rows hold them: messages with roles, tools, weights of their loss. Knows no format and no template.

Fields are named as in OpenAI's chat format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

SYSTEM, DEVELOPER, USER, ASSISTANT, TOOL = "system", "developer", "user", "assistant", "tool"
INSTRUCTS = (SYSTEM, DEVELOPER)
"""Roles of messages that say how to answer, not what."""
TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class WeightedSpan:
    """Characters ``start`` up to, not including, ``end`` of a message's content, with a loss weight of their own."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    role: str
    """system, developer, user, assistant, tool ... as templates know them."""
    content: str
    weight: float | None = None
    """Weight of its loss, 0 to 1; None: as the run's rule says. 0: never trained on."""
    spans: tuple[WeightedSpan, ...] = ()
    """Parts of the content with weights of their own, in order and apart from each other."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else it says, as it was given: tool_call_id, name, reasoning_content ...

    ``tool_calls`` are ``{"type": "function", "function": {"name": ..., "arguments": {...}}, "id": ...}`` (``id`` where
    one was given): files hold the arguments as JSON text, but templates want the object, so it is parsed.
    """

    def as_given(self) -> dict[str, Any]:
        """For a chat template."""
        return {"role": self.role, "content": self.content, **self.extra}

    @property
    def said(self) -> str:
        """The content, and below it the tool calls as JSON, where there are any."""
        calls = self.extra.get(TOOL_CALLS)
        if not calls:
            return self.content
        written = json.dumps([call["function"] for call in calls], ensure_ascii=False, default=str)
        return f"{self.content}\n{written}" if self.content.strip() else written


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order, and the tools that the assistant may call (JSON schemas)."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    """Each ``{"type": "function", "function": {"name": ..., "parameters": ...}}``."""
    parallel_tool_calls: bool | None = None
    """Whether one message may call several tools; None: not said."""
    completion_start: int | None = field(default=None, compare=False)
    """Number of the first message that the column of completions gave; None: there is no such column. It says how the
    file was laid out, nothing of what was said."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All before the last answer; all where the last message is none."""
        return self.messages[:-1] if self.ends_with_answer else self.messages

    @property
    def answer(self) -> Message | None:
        """The last message, where the assistant says it."""
        return self.messages[-1] if self.ends_with_answer else None

    @property
    def ends_with_answer(self) -> bool:
        """Whether the assistant has the last word."""
        return bool(self.messages) and self.messages[-1].role == ASSISTANT

    def without_answer(self) -> Conversation:
        """The conversation as one that waits for its last answer."""
        return Conversation(self.prompt, self.tools, self.parallel_tool_calls)


def as_text(messages: Sequence[Message]) -> str:
    """Messages for people: a lone user's message as it is, below what the system says; others as ``role: ...``."""
    asked = [message for message in messages if message.role not in INSTRUCTS]
    if len(asked) == 1 and asked[0].role == USER and asked[0] is messages[-1]:
        return "\n".join(message.said for message in messages)
    return "\n".join(f"{message.role}: {message.said}" for message in messages)


def sameness(conversation: Conversation) -> tuple[str, ...]:
    """What makes two prompts the same: what was asked in words, and instructions with tools as one word.

    One word, because the instructions of a data set are often long and the same in all rows: word for word, they would
    make all its rows nearly the same.
    """
    given = [message for message in conversation.prompt if message.role in INSTRUCTS]
    asked = [message for message in conversation.prompt if message.role not in INSTRUCTS] or conversation.messages
    if not given and not conversation.tools:
        return (as_text(asked),)
    around = json.dumps([[message.content for message in given], list(conversation.tools)], default=str)
    return as_text(asked), blake2b(around.encode(), digest_size=8).hexdigest()


def as_json(conversation: Conversation) -> dict[str, Any]:
    """Everything it holds, for a file of ours."""
    return {
        "messages": [
            {
                "role": message.role,
                "content": message.content,
                "weight": message.weight,
                "spans": [[span.start, span.end, span.weight] for span in message.spans],
                "extra": dict(message.extra),
            }
            for message in conversation.messages
        ],
        "tools": [dict(tool) for tool in conversation.tools],
        "parallel_tool_calls": conversation.parallel_tool_calls,
        "completion_start": conversation.completion_start,
    }


def from_json(values: Mapping[str, Any]) -> Conversation:
    """What :func:`as_json` wrote."""
    messages = tuple(
        Message(one["role"], one["content"], one["weight"], tuple(WeightedSpan(*s) for s in one["spans"]), one["extra"])
        for one in values["messages"]
    )
    start = values.get("completion_start")
    return Conversation(messages, tuple(values["tools"]), values["parallel_tool_calls"], start)
