"""Answers that a decoder writes to conversations, and the right ones as it would have to write them.

Through the generation port. Knows no metric and no loss.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feinschliff.config.generation import SamplingConfig
from feinschliff.data.conversations import Conversation
from feinschliff.data.examples import Example
from feinschliff.errors import DataError, ModelError
from feinschliff.generation.port import Generation, Piece, Request
from feinschliff.generation.transformers_backend import TransformersBackend
from feinschliff.models.chat_rows import ChatRenderer
from feinschliff.models.chat_turns import ChatMessages
from feinschliff.models.decoder import LoadedDecoder, set_end_ids

TIMED_STEPS = 9
"""Tokens an answer, from which the time for whole ones is told."""


@dataclass(frozen=True, slots=True)
class Askable:
    """Some rows of a set, drawn at random, always the same ones of the same set."""

    rows: list[int]
    """Numbers of examples, ascending."""
    refused: Counter[str]
    """What is wrong with rows that were drawn and cannot be asked, and how many those are."""
    reasons: dict[str, str]
    """One reason for each."""

    @property
    def notes(self) -> list[str]:
        """The same in sentences."""
        return [
            f"{count:,} {'row' if count == 1 else 'rows'} cannot be asked: {what}{self.reasons[what]}"
            for what, count in self.refused.most_common()
        ]


class ChatWriter:
    """A decoder as it is now, with the template that it was or is trained with."""

    def __init__(self, loaded: LoadedDecoder, renderer: ChatRenderer, end_ids: Sequence[int]) -> None:
        self._renderer = renderer
        self._tokenizer = loaded.tokenizer
        set_end_ids(loaded, end_ids)
        self.backend = TransformersBackend(loaded.body.model, loaded.tokenizer)

    def request(self, example: Example) -> Request:
        """What is to be answered; of a document, what is to be continued.

        Raises:
            DataError: the template refuses these messages.
        """
        chat = example.conversation
        if chat is None:
            return Request(ids=self._tokenizer(example.texts[0])["input_ids"])
        return Request(ids=self.prompt_ids(chat.without_answer(), f"{example.place.file}:{example.place.line}"))

    def prompt_ids(self, chat: Conversation, where: str) -> list[int]:
        """The prompt of a conversation that waits for an answer."""
        messages: list[Mapping[str, Any]] = [message.as_given() for message in chat.messages]
        try:
            return self._renderer.prompt_ids(messages, list(chat.tools))
        except ModelError as error:
            raise DataError(f"the chat template refuses these messages: {error.faults[0].why}", where=where) from error

    def askable(self, examples: Sequence[Example], most: int) -> Askable:
        """Conversations that the template and the model's length let be asked; drawn on until there are ``most``."""
        found = Askable([], Counter(), {})
        for row in np.random.default_rng(len(examples)).permutation(len(examples)).tolist():
            if len(found.rows) == most:
                break
            if examples[row].conversation is None:
                continue
            try:
                request = self.request(examples[row])
            except DataError as error:
                why: tuple[str, str, str] | None = (error.faults[0].what, "", "")
            else:
                why = self.backend.why_not(request.ids or ())
            if why is None:
                found.rows.append(row)
            else:
                found.refused[why[0]] += 1
                found.reasons.setdefault(why[0], why[1] and f": {why[1]}")
        found.rows.sort()
        return found

    def references(self, examples: Sequence[Example]) -> dict[int, tuple[str, ...]]:
        """The last answers as the template writes them (tool calls, empty reasoning), where it writes them otherwise.

        Read back from the tokens that would be learned, as written answers are; keys are places in ``examples``.
        """
        chats = {number: example.conversation for number, example in enumerate(examples)}
        asked = {number: chat for number, chat in chats.items() if chat is not None and chat.ends_with_answer}
        plain = [ChatMessages([one.as_given() for one in chat.messages], list(chat.tools)) for chat in asked.values()]
        rows = self._renderer.rows(plain, "last", "inference").rows
        numbers, found = list(asked), dict[int, tuple[str, ...]]()
        for row in rows:
            number = numbers[row.conversation]
            text = self._tokenizer.decode(
                row.ids[row.prompt_tokens :], skip_special_tokens=True, clean_up_tokenization_spaces=False
            ).strip()
            if text and text not in [given.strip() for given in examples[number].references]:
                found[number] = (text, *examples[number].references[1:])
        return found

    def write(
        self, examples: Sequence[Example], sampling: SamplingConfig, on_rows: Callable[[int], None] = lambda _: None
    ) -> list[Generation]:
        """One answer an example, in their order."""
        requests = [self.request(example) for example in examples]

        def done(piece: Piece) -> None:
            if piece.generation is not None:
                on_rows(1)

        return self.backend.generate(requests, sampling, done)

    def seconds_to_write(self, examples: Sequence[Example], most: int, max_new_tokens: int) -> float:
        """What writing to ``most`` such examples takes at most, told from a few steps."""
        rows = self.askable(examples, min(most, self.backend.limits.num_rows)).rows
        if not rows:
            return 0.0
        begin, seen = time.perf_counter(), set[int]()
        seconds, read, before, after = 0.0, 0.0, 0, 0
        few = SamplingConfig(min_new_tokens=TIMED_STEPS, max_new_tokens=TIMED_STEPS)
        for piece in self.backend.stream([self.request(examples[row]) for row in rows], few):
            seconds, after = time.perf_counter() - begin, after + 1
            if piece.request not in seen:  # some write already while others are read
                seen.add(piece.request)
                read, before, after = seconds, before + after, 0
        per_token = (seconds - read) / max(1, after)
        return (read + per_token * max(0, len(rows) * max_new_tokens - before)) * most / len(rows)

    def stream(self, chat: Conversation, sampling: SamplingConfig) -> Iterator[str]:
        """The answer to a conversation, piece by piece."""
        for piece in self.backend.stream([Request(ids=self.prompt_ids(chat, "chat"))], sampling):
            yield piece.text
