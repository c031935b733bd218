"""Answers that a decoder writes to conversations, through the generation port. Knows no metric and no loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from feinschliff.config.generation import SamplingConfig
from feinschliff.data.conversations import Conversation
from feinschliff.data.examples import Example
from feinschliff.errors import DataError, ModelError
from feinschliff.generation.port import Piece, Request
from feinschliff.generation.transformers_backend import TransformersBackend
from feinschliff.models.chat_rows import ChatRenderer
from feinschliff.models.decoder import LoadedDecoder, set_end_ids


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

    def write(
        self, examples: Sequence[Example], sampling: SamplingConfig, on_rows: Callable[[int], None] = lambda _: None
    ) -> list[str]:
        """One answer an example, in their order."""
        requests = [self.request(example) for example in examples]

        def done(piece: Piece) -> None:
            if piece.generation is not None:
                on_rows(1)

        return [answer.text.strip() for answer in self.backend.generate(requests, sampling, done)]

    def stream(self, chat: Conversation, sampling: SamplingConfig) -> Iterator[str]:
        """The answer to a conversation, piece by piece."""
        for piece in self.backend.stream([Request(ids=self.prompt_ids(chat, "chat"))], sampling):
            yield piece.text
