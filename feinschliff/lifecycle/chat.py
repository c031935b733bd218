"""The verb ``chat``: a conversation with a finished language model, remembered from turn to turn. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from feinschliff.config.generation import SamplingConfig, WritingPrecision
from feinschliff.data.conversations import ASSISTANT, SYSTEM, USER, Conversation, Message
from feinschliff.errors import InputError
from feinschliff.predictor import Predictor


class ChatSession:
    """One conversation.

    Raises:
        RunDirectoryError: there is no finished model.
        InputError: the run's model writes no answers.
    """

    def __init__(
        self, run: Path, sampling: SamplingConfig, system: str | None = None, precision: WritingPrecision = "auto"
    ) -> None:
        predictor = Predictor(run, precision=precision)
        if not predictor.writes:
            raise InputError(
                f"{run} holds no language model",
                why=f"its task is {predictor.facts.task['type']}",
                remedy=f"ask it with: feinschliff predict {run} TEXT",
            )
        self.notes = predictor.notes
        self.base_model = predictor.facts.base_model
        self._writer: Any = predictor.task.writer()
        self._sampling: SamplingConfig = predictor.task.sampling(sampling)
        self._system = (Message(SYSTEM, system),) if system else ()
        self.messages: tuple[Message, ...] = self._system

    def ask(self, text: str) -> Iterator[str]:
        """The answer to what is said next, piece by piece; both are remembered once the answer is whole, or given up.

        Raises:
            DataError: the template refuses it, or the conversation has become longer than the model reads.
        """
        asked = (*self.messages, Message(USER, text))
        pieces: list[str] = []
        try:
            for piece in self._writer.stream(Conversation(asked), self._sampling):
                pieces.append(piece)
                yield piece
        finally:
            if pieces:
                self.messages = (*asked, Message(ASSISTANT, "".join(pieces).strip()))

    def forget(self) -> None:
        """Begin anew, with the same system message."""
        self.messages = self._system
