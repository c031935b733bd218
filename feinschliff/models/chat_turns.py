"""What of a conversation carries loss, as characters: found by rendering the template, never by searching for markers.

An answer is what the model has to write behind the prompt it would get at inference: ``prompt`` is the conversation
before it, rendered with a generation prompt; ``whole`` the conversation up to it; the answer is what ``whole`` has
behind ``prompt``, up to the token that ends it. Answers that stand at the same place, with the same characters before
them, in the rendering of the whole conversation share one row. An answer whose history is written otherwise later
(Qwen 3 leaves earlier reasoning out) gets a row of its own, so what is trained on is what is seen at inference.

Knows no token ids and no data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from feinschliff.errors import ConfigError, ModelError
from feinschliff.models.chat_render import ASSISTANT, REASONING, Messages, Place, TemplateRenderer, shared_start

Loss = str | tuple[str, ...]
OnMismatch = Literal["report", "inference"]
LOSSES = ("assistant", "completion", "last", "all")
USER = "user"
CALLS = "tool_calls"
COMMON_ROLES = (USER, ASSISTANT)
"""Every template writes them."""
HEADER_CHARACTERS = 8
"""So many at the end of a prompt tell where it ends in another text."""
CONTEXT_CHARACTERS = 40
"""Of both texts, shown before a difference, and twice as many behind it."""


@dataclass(frozen=True, slots=True)
class ChatMessages:
    """A conversation as templates read it."""

    messages: Messages
    """As in OpenAI's format: role, content, tool_calls ... ; what a template does not know it ignores."""
    tools: Messages = ()
    weights: Sequence[float | None] = ()
    """Of each message's loss, None: 1. They weigh what the loss rule selects; 0: context only. Empty: all None."""
    spans: Sequence[Sequence[tuple[int, int, float]]] = ()
    """Of each message: (start, end, weight) in characters of its content; in the stead of the message's weight."""
    completion_start: int | None = None
    """Number of the first message of the completion; None: what follows the last message of the user is one."""

    def weight(self, number: int) -> float | None:
        """Of message ``number``."""
        return self.weights[number] if self.weights else None

    def spans_of(self, number: int) -> Sequence[tuple[int, int, float]]:
        """Of message ``number``."""
        return self.spans[number] if self.spans else ()


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters of a row's text, and the weight of their loss. Later pieces stand above earlier ones."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer in a row's text: the prompt before ``border``, the answer up to ``stop``."""

    message: int
    border: int
    stop: int
    pieces: tuple[Piece, ...]


@dataclass(slots=True)
class TextRow:
    """The text of one training row."""

    text: str
    turns: list[Turn] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    """What carries loss and is no answer."""
    message: int | None = None
    """The one answer that this row is for; None: the row is the conversation."""
    prompt_characters: int = 0
    """The text before the last answer."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A prompt that stands otherwise before its answer than at inference: both texts around the first difference."""

    conversation: int
    message: int
    at_inference: str
    in_training: str


@dataclass(slots=True)
class TextRows:
    """A conversation's rows, and what is to be said about it."""

    rows: list[TextRow] = field(default_factory=list)
    fault: str | None = None
    """Why nothing of it can be learned."""
    num_unrolled: int = 0
    """Answers with a row of their own, because their history is written otherwise later."""
    mismatches: list[Mismatch] = field(default_factory=list)
    without_end: list[int] = field(default_factory=list)
    """Answers (numbers of messages) that no special token ends."""
    without_prompt: list[int] = field(default_factory=list)
    """Answers before which nothing was said; never learned."""
    ends: set[str] = field(default_factory=set)
    """The tokens that end answers."""
    num_special_in_content: int = 0
    """Texts in contents that the tokenizer reads as special tokens."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Fields that are given and that the template does not write."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, rendered."""

    message: int
    prompt: str
    text: str
    stop: int
    """Characters up to behind the token that ends it; all where none does."""
    moved: int | None
    """By how much its text stands later than in the rendering up to it; None: put together by hand."""
    rewritten: bool = False
    """The training text is not the template's own."""


class TurnReader:
    """Makes text rows of conversations under one rule.

    ``loss``: "assistant" (all answers), "completion" (those of the completion), "last" (the last one), "all" (every
    character), or roles. ``on_mismatch``: what becomes of an answer whose prompt is written otherwise at inference:
    "report" leaves it out, "inference" trains it behind the prompt of inference.

    Raises:
        ConfigError: there is no such rule.
    """

    def __init__(self, renderer: TemplateRenderer, loss: Loss, on_mismatch: OnMismatch = "report") -> None:
        if isinstance(loss, str) and loss not in LOSSES:
            raise ConfigError(f"no such loss rule: {loss}", why=f"there are {', '.join(LOSSES)}, and tuples of roles")
        self.renderer = renderer
        self.loss = loss
        self.on_mismatch = on_mismatch

    def read(self, conversation: ChatMessages, number: int = 0) -> TextRows:
        """The rows of one conversation; ``number`` is what it is called in mismatches."""
        contents = [text for message in conversation.messages for text in _texts(message)]
        found = TextRows(num_special_in_content=sum(map(self.renderer.num_special, contents)))
        try:
            if self.loss == "all":
                found.rows.append(self._everything(conversation, number, found))
                self._note_unwritten(conversation, range(len(conversation.messages))[-1:], found)
            else:
                self._read(conversation, number, found)
        except ModelError as error:
            found.rows, found.fault = [], error.faults[0].why or str(error)
        return found

    def _read(self, chat: ChatMessages, number: int, found: TextRows) -> None:
        selected = self._selected(chat)
        replies = {}
        for message in [message for message in selected if chat.messages[message].get("role") == ASSISTANT]:
            reply = self._reply(chat, message, number, found)
            if reply is not None:
                replies[message] = reply
        others = [message for message in selected if chat.messages[message].get("role") != ASSISTANT]
        kept = [message for message, reply in replies.items() if not reply.rewritten]
        if kept or others:
            found.rows.append(self._conversation(chat, others, [replies[message] for message in kept]))
        held = {turn.message for row in found.rows for turn in row.turns}
        for message in [message for message in replies if message not in held]:
            found.num_unrolled += not replies[message].rewritten
            found.rows.append(self._own_row(chat, replies[message]))
        found.rows = [row for row in found.rows if row.turns or row.pieces]
        if found.rows:
            self._note_unwritten(chat, selected, found)
        else:
            found.fault = self._nothing(chat, found)

    def _selected(self, chat: ChatMessages) -> list[int]:
        """Messages that carry loss under the rule and their weights."""
        roles = (ASSISTANT,) if isinstance(self.loss, str) else self.loss
        numbers = [number for number, message in enumerate(chat.messages) if message.get("role") in roles]
        if self.loss == "last":
            numbers = numbers[-1:]
        if self.loss == "completion":
            asked = [number for number, message in enumerate(chat.messages, 1) if message.get("role") == USER]
            start = chat.completion_start if chat.completion_start is not None else max(asked, default=0)
            numbers = [number for number in numbers if number >= start]
        return [
            number
            for number in numbers
            if chat.weight(number) != 0 or any(weight for _, _, weight in chat.spans_of(number))
        ]

    def _reply(self, chat: ChatMessages, message: int, number: int, found: TextRows) -> Reply | None:
        if message == 0:
            found.without_prompt.append(message)
            return None
        before, upto = chat.messages[:message], chat.messages[: message + 1]
        prompt = self.renderer.text(before, chat.tools, generation_prompt=True)
        whole = self.renderer.text(upto, chat.tools)
        self._note_ignored(chat, message, prompt, whole, found)
        if whole.startswith(prompt):
            return self._ended(Reply(message, prompt, whole[len(prompt) :], 0, 0), found)
        found.mismatches.append(_mismatch(number, message, prompt, whole))
        if self.on_mismatch == "report":
            return None
        return self._ended(self._at_inference(chat, message, prompt, whole), found)

    def _ended(self, reply: Reply, found: TextRows) -> Reply:
        end = self.renderer.end_of(reply.text)
        if end is None:
            found.without_end.append(reply.message)
            return replace(reply, stop=len(reply.text))
        found.ends.add(end[1])
        return replace(reply, stop=end[0])

    def _at_inference(self, chat: ChatMessages, message: int, prompt: str, whole: str) -> Reply:
        """The answer behind the prompt of inference: its content and what follows it, found in ``whole``.

        Where the prompt already opens what the content begins with (DeepSeek-R1's <think>), the content goes on from
        there, as it was given. An answer without content (tool calls) begins where a made-up content would.
        """
        upto = chat.messages[: message + 1]
        content = upto[message].get("content")
        if not content:
            upto = [*upto[:-1], {"role": ASSISTANT, "content": "-"}]
            probed = self.renderer.text(upto, chat.tools)
            place = self.renderer.place(upto, chat.tools, message, probed)
            if place is None or whole[: place.start] != probed[: place.start]:
                raise _unreadable(message, "cannot be found in the rendering")
            return Reply(message, prompt, whole[place.start :], 0, None, rewritten=True)
        place = self.renderer.place(upto, chat.tools, message, whole)
        if place is None:
            raise _unreadable(message, "cannot be found in the rendering")
        opened = prompt[shared_start(prompt, whole) :]
        if opened.strip() and isinstance(content, str) and content.lstrip().startswith(opened):
            text = content.lstrip().removeprefix(opened) + whole[place.end :]
            return Reply(message, prompt, text, 0, None, rewritten=True)
        start = place.start - _blanks_of_answer(whole[: place.start], prompt)
        return Reply(message, prompt, whole[start:], 0, len(prompt) - start, rewritten=True)

    def _conversation(self, chat: ChatMessages, others: Sequence[int], replies: Sequence[Reply]) -> TextRow:
        """The row of all answers that stand in it as at inference, and of messages of other roles."""
        last = max([*others, *(reply.message for reply in replies)])
        known = next((reply for reply in replies if reply.message == last), None)
        upto = chat.messages[: last + 1]
        text = known.prompt + known.text if known else self.renderer.text(upto, chat.tools)
        turns = [
            self._turn(chat, reply)
            for reply in replies
            if text.startswith(reply.prompt) and text.startswith(reply.text[: reply.stop], len(reply.prompt))
        ]
        pieces = [piece for message in others for piece in self._pieces_of(chat, upto, message, text)]
        return TextRow(text, turns, pieces, None, turns[-1].border if turns else 0)

    def _own_row(self, chat: ChatMessages, reply: Reply) -> TextRow:
        turn = self._turn(chat, reply)
        return TextRow(reply.prompt + reply.text, [turn], [], reply.message, turn.border)

    def _turn(self, chat: ChatMessages, reply: Reply) -> Turn:
        border, moved, weight = len(reply.prompt), reply.moved, chat.weight(reply.message)
        pieces = [Piece(border, border + reply.stop, 1.0 if weight is None else weight)]
        if chat.spans_of(reply.message):
            upto = chat.messages[: reply.message + 1]
            whole = self.renderer.text(upto, chat.tools)
            place = None if moved is None else self.renderer.place(upto, chat.tools, reply.message, whole)
            pieces += _spans(chat, reply.message, place, moved or 0)
        return Turn(reply.message, border, border + len(reply.text), tuple(pieces))

    def _pieces_of(self, chat: ChatMessages, upto: Messages, message: int, text: str) -> list[Piece]:
        """Of a message that is no answer: its content, and the end token right behind it."""
        place = self.renderer.place(upto, chat.tools, message, text)
        if place is None:
            raise _unreadable(message, "is not written by the template")
        end = next((place.end + len(end) for end in self.renderer.ends if text.startswith(end, place.end)), place.end)
        weight = chat.weight(message)
        return [Piece(place.start, end, 1.0 if weight is None else weight), *_spans(chat, message, place, 0)]

    def _everything(self, chat: ChatMessages, number: int, found: TextRows) -> TextRow:
        text = self.renderer.text(chat.messages, chat.tools)
        row = TextRow(text, pieces=[Piece(0, len(text), 1.0)])
        answers = [n for n, message in enumerate(chat.messages) if message.get("role") == ASSISTANT]
        last = self._reply(chat, answers[-1], number, found) if answers else None
        if last is not None and text.startswith(last.prompt):
            row.prompt_characters = len(last.prompt)
        for message in range(len(chat.messages)):
            if chat.weight(message) is not None or chat.spans_of(message):
                reply = self._reply(chat, message, number, TextRows()) if message in answers else None
                row.pieces += self._weighted(chat, message, reply, text)
        return row

    def _weighted(self, chat: ChatMessages, message: int, reply: Reply | None, text: str) -> Sequence[Piece]:
        """The pieces of any message, an answer or not, in the whole conversation."""
        if reply is not None and text.startswith(reply.prompt + reply.text[: reply.stop]):
            return self._turn(chat, reply).pieces
        return self._pieces_of(chat, chat.messages, message, text)

    def _note_ignored(self, chat: ChatMessages, message: int, prompt: str, whole: str, found: TextRows) -> None:
        if chat.tools and "tools" not in found.ignored:
            before = chat.messages[:message]
            found.ignored["tools"] = int(self.renderer.text(before, generation_prompt=True) == prompt)
        for fields in ((CALLS,), REASONING):
            name = next((name for name in fields if chat.messages[message].get(name)), None)
            if name and self.renderer.ignores(chat.messages[: message + 1], chat.tools, fields, whole):
                found.ignored[name] = 1

    def _note_unwritten(self, chat: ChatMessages, selected: Sequence[int], found: TextRows) -> None:
        """Messages of a system, a tool, a developer whose content makes no difference to the rendering, and calls of
        tools in what is only read."""
        upto = chat.messages[: selected[-1] + 1]
        for message, said in enumerate(upto):
            if said.get(CALLS) and message not in selected and not found.ignored[CALLS]:
                whole = self.renderer.text(upto[: message + 1], chat.tools)
                found.ignored[CALLS] = int(self.renderer.ignores(upto[: message + 1], chat.tools, (CALLS,), whole))
        all_texts = [text for said in upto for text in _texts(said)]
        for message, said in enumerate(upto):
            for text in [] if said.get("role") in COMMON_ROLES else [text.strip() for text in _texts(said)]:
                # Verbatim as often as messages say it: no need to try.
                if found.rows[0].text.count(text) < sum(text in other for other in all_texts):
                    written = self.renderer.writes(upto, chat.tools, message)
                    found.ignored[f"{said.get('role')} messages"] |= not written

    def _nothing(self, chat: ChatMessages, found: TextRows) -> str:
        if found.mismatches:
            return "the prompt is rendered differently at inference"
        if found.without_prompt:
            return "nothing stands before its only answer"
        roles = (ASSISTANT,) if isinstance(self.loss, str) else self.loss
        if not any(message.get("role") in roles for message in chat.messages):
            return f"no message of {' or '.join(roles)}"
        if self.loss == "completion" and chat.messages[-1].get("role") == USER:
            return "no message of assistant in its completion"
        return "all its messages that could carry loss have weight 0"


def _spans(chat: ChatMessages, message: int, place: Place | None, moved: int) -> list[Piece]:
    """Weights inside the content of a message.

    Raises:
        ModelError: the template rewrites the content, so that its characters have no place.
    """
    spans = chat.spans_of(message)
    if not spans:
        return []
    if place is None or place.offset is None:
        raise _unreadable(message, "is rewritten by the template: weights of its parts have no place")
    shift = place.start - place.offset
    content = str(chat.messages[message].get("content"))
    pieces = []
    for start, end, weight in spans:
        first, last = max(start + shift, place.start), min(end + shift, place.end)
        left_out = content[start : first - shift] + content[max(last - shift, start) : end]
        if first >= last or left_out.strip():
            raise _unreadable(message, f"is cut by the template: characters {start} to {end} have no place")
        pieces.append(Piece(first + moved, last + moved, weight))
    return pieces


def _mismatch(number: int, message: int, prompt: str, whole: str) -> Mismatch:
    place = shared_start(prompt, whole)
    shown = slice(max(place - CONTEXT_CHARACTERS, 0), place + 2 * CONTEXT_CHARACTERS)
    return Mismatch(number, message, prompt[shown], whole[shown])


def _blanks_of_answer(before: str, prompt: str) -> int:
    """How many blanks before a content are the answer's own: Mistral's first blank stands behind every prompt."""
    longest = len(before) - len(before.rstrip())
    for blanks in range(longest + 1):
        if prompt.endswith(before[: len(before) - blanks][-HEADER_CHARACTERS:]):
            return blanks
    return 0


def _texts(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content")
    if isinstance(content, list):
        return [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return [content] if isinstance(content, str) else []


def _unreadable(message: int, reason: str) -> ModelError:
    return ModelError("a message has no place in the rendering", why=f"message {message + 1} {reason}")
