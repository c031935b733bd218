"""One tokenizer's chat template as text: renders messages, says what ends an answer, finds where a content stands.

Rendering is transformers' own (its sandbox, its compiled cache). Knows no loss, no ids of a row and no data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feinschliff.errors import ModelError

ASSISTANT = "assistant"
PROBES = ("Xq", "Wz7")
"""Two made-up contents that share neither their first nor their last character."""
ARGUMENTS = {"probe_key": "probe value"}
REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names of one and the same thing; transformers copies the one that is given to the others."""

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """Characters ``start`` to ``end`` of a text are a message's content from its character ``offset`` on.

    ``offset`` None: the template rewrote the content, so characters of the one are not those of the other.
    """

    start: int
    end: int
    offset: int | None


class TemplateRenderer:
    """Renders with ``tokenizer.chat_template``. ``arguments`` go to the template by name (``enable_thinking``, dates).

    A template that reads the clock (``strftime_now``; Llama 3.x) renders another prompt tomorrow: pin the date by the
    argument it takes, for Llama ``date_string``.

    Raises:
        ModelError: the tokenizer has no template.
    """

    def __init__(self, tokenizer: Any, eos_ids: Iterable[int] = (), arguments: Mapping[str, Any] | None = None) -> None:
        if tokenizer.chat_template is None:
            raise ModelError(
                "the tokenizer has no chat template", remedy="choose one of the catalogue, or give a Jinja file"
            )
        self.tokenizer = tokenizer
        self.arguments = dict(arguments or {})
        self.specials = special_tokens(tokenizer)
        own = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        self.ends = frozenset(tokenizer.convert_ids_to_tokens(sorted({*eos_ids, *own})))
        self._lengths = sorted({len(token) for token in (*self.specials, *self.ends)}, reverse=True)
        self._openings = re.compile("|".join({re.escape(token[0]) for token in self.specials if token}) or "(?!)")
        self._argument_type: type | None = None
        self._knows_arguments = False

    def text(self, messages: Messages, tools: Messages = (), *, generation_prompt: bool = False) -> str:
        """The conversation as the template writes it.

        Raises:
            ModelError: the template refuses it, or fails on it; the reason is the fault's ``why``.
        """
        if not messages:
            raise _refused("there is no message")
        given = [self._as_wanted(message) for message in messages]
        try:
            return self._rendered(given, tools, generation_prompt)
        except ModelError:
            # Calls come without content, and transformers hides what is None; some templates read it all the same.
            if all(message.get("content") is not None for message in given):
                raise
            filled = [{**message, "content": message.get("content") or ""} for message in given]
            return self._rendered(filled, tools, generation_prompt)

    def _rendered(self, messages: Messages, tools: Messages, generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        try:
            rendered: str = self.tokenizer.apply_chat_template(
                list(messages),
                tools=[dict(tool) for tool in tools] or None,
                tokenize=False,
                add_generation_prompt=generation_prompt,
                **self.arguments,
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            plain = type(error) is TemplateError
            raise _refused(str(error) if plain else f"{type(error).__name__}: {error}") from error
        return rendered

    def end_of(self, reply: str) -> tuple[int, str] | None:
        """Where the token stands that ends a reply (the character behind it), and its text; None where none does.

        Only special tokens and blanks may follow. Of several, the first that generation stops at; else the last.
        """
        found, stop = [], len(reply)
        while True:
            stop = len(reply[:stop].rstrip())
            special = self._special(reply[max(stop - length, 0) : stop] for length in self._lengths)
            if special is None:
                break
            found.append((stop, special))
            stop -= len(special)
        stopping = [end for end in reversed(found) if end[1] in self.ends]
        return next(iter(stopping or found), None)

    def num_special(self, text: str) -> int:
        """How many parts of a text the tokenizer reads as special tokens."""
        number, place = 0, 0
        while opening := self._openings.search(text, place):
            place = opening.start()
            special = self._special(text[place : place + length] for length in self._lengths)
            number += special is not None
            place += len(special or " ")
        return number

    def id_of(self, token: str) -> int:
        """Of a special token or one that ends answers."""
        return int(self.tokenizer.convert_tokens_to_ids(token))

    def place(self, messages: Messages, tools: Messages, number: int, rendered: str) -> Place | None:
        """Where the content of message ``number`` stands in ``rendered``, the text of ``messages``.

        Found by rendering two made-up contents in its stead: what differs is the content. None: it is not there.

        Raises:
            ModelError: the template refuses the made-up contents.
        """
        message = messages[number]
        first, second = (self.text(_replaced(messages, number, probe), tools) for probe in PROBES)
        if first == second:
            return None
        head, tail = _shared(first, second)
        whole = rendered.startswith(first[:head]) and rendered.endswith(first[len(first) - tail :])
        if not whole or len(rendered) < head + tail:
            return None
        end = len(rendered) - tail
        return Place(head, end, _offset(message.get("content"), rendered[head:end]))

    def writes(self, messages: Messages, tools: Messages, number: int) -> bool:
        """Whether the content of message ``number`` makes a difference, to the text or to the prompt behind it."""
        one, other = (_replaced(messages, number, probe) for probe in PROBES)
        try:
            return any(
                self.text(one, tools, generation_prompt=asked) != self.text(other, tools, generation_prompt=asked)
                for asked in (False, True)
            )
        except ModelError:
            return True

    def ignores(self, messages: Messages, tools: Messages, fields: Iterable[str], rendered: str) -> bool:
        """Whether ``rendered`` is the same without these fields of the last message (or without ``tools``)."""
        fields = tuple(fields)
        last = {name: value for name, value in messages[-1].items() if name not in fields}
        try:
            return self.text([*messages[:-1], last], () if "tools" in fields else tools) == rendered
        except ModelError:
            return False

    def _special(self, texts: Iterable[str]) -> str | None:
        return next((text for text in texts if text and (text in self.specials or text in self.ends)), None)

    def _as_wanted(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """OpenAI gives the arguments of a call as one JSON text, transformers as a dict; templates know one or both."""
        if not isinstance(message.get("tool_calls"), list):
            return dict(message)
        if not self._knows_arguments:
            self._knows_arguments = True
            self._argument_type = _argument_type(self.text)
        wanted = self._argument_type
        calls = [_with_arguments(call, wanted) for call in message["tool_calls"]] if wanted else message["tool_calls"]
        return {**message, "tool_calls": calls}


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Texts of the tokenizer's special tokens, with their ids."""
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {**dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)), **added}


def with_content(message: Mapping[str, Any], content: str) -> dict[str, Any]:
    """The message with another content, in the same form (one text, or a list of parts)."""
    parts = isinstance(message.get("content"), list)
    return {**message, "content": [{"type": "text", "text": content}] if parts else content}


def shared_start(one: str, other: str) -> int:
    """How many characters two texts share at their start."""
    shared, longest = 0, min(len(one), len(other))
    while shared < longest:
        middle = (shared + longest + 1) // 2
        if one[:middle] == other[:middle]:
            shared = middle
        else:
            longest = middle - 1
    return shared


def _replaced(messages: Messages, number: int, content: str) -> list[Mapping[str, Any]]:
    return [*messages[:number], with_content(messages[number], content), *messages[number + 1 :]]


def _shared(one: str, other: str) -> tuple[int, int]:
    """Characters shared at the start, and behind them at the end."""
    head = shared_start(one, other)
    return head, shared_start(one[head:][::-1], other[head:][::-1])


def _offset(content: Any, rendered: str) -> int | None:
    """Where the rendered content begins in the given one: templates strip blanks, or leave parts out."""
    if not isinstance(content, str):
        return None
    if content.strip() == rendered.strip():
        return (
            len(content) - len(content.lstrip()) - (len(rendered) - len(rendered.lstrip())) if rendered.strip() else 0
        )
    return content.index(rendered) if rendered and content.count(rendered) == 1 else None


def _argument_type(render: Callable[[Messages], str]) -> type | None:
    """What a template takes a call's arguments as: dict, str, or None where it takes both or neither."""
    good = []
    for kind, arguments in ((dict, ARGUMENTS), (str, json.dumps(ARGUMENTS))):
        call = {"id": "abcdefghi", "type": "function", "function": {"name": "probe", "arguments": arguments}}
        try:
            text = render([{"role": "user", "content": "a"}, {"role": ASSISTANT, "content": "", "tool_calls": [call]}])
        except ModelError:
            continue
        if "probe_key" in text and '\\"probe_key' not in text and "{'probe_key" not in text:
            good.append(kind)
    return good[0] if len(good) == 1 else None


def _with_arguments(call: Any, wanted: type) -> Any:
    """What is no call is left to the template, to be refused or not."""
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping):
        return call
    arguments = inner.get("arguments")
    if wanted is str and isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    elif wanted is dict and isinstance(arguments, str):
        try:
            read = json.loads(arguments)
        except ValueError:
            read = None
        arguments = read if isinstance(read, dict) else arguments
    inner = {**inner, "arguments": arguments}
    return {**call, "function": inner} if "function" in call else inner


def _refused(reason: str) -> ModelError:
    return ModelError("the chat template does not write this conversation", why=reason)
