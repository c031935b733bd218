"""The verb ``chat``: a conversation with a finished language model, remembered from turn to turn. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from feinschliff.config.generation import SamplingConfig, WritingPrecision
from feinschliff.data.conversations import ASSISTANT, INSTRUCTS, SYSTEM, USER, Conversation, Message
from feinschliff.errors import DataError, InputError
from feinschliff.generation.port import Generation
from feinschliff.predictor import Predictor

LEAST_ROOM = 4
"""Where an answer may be longer than one part in so many of what the model reads, that part is kept free for it."""
SEEDS = 2**63


class ChatSession:
    """One conversation. Its oldest turns are left out where they leave an answer no room.

    Each answer draws with a seed of its own: the seed that is given and, from 0, the number of the answer.

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
        self._num_answers = 0
        self.messages: tuple[Message, ...] = self._system
        """What the model reads before the next message."""
        self.num_left_out = 0
        """Messages of the beginning that it no longer reads."""
        self.answer: Generation | None = None
        """The last one, where it is whole or was cut for its length."""

    @property
    def max_new_tokens(self) -> int:
        """Longest answer."""
        return self._sampling.max_new_tokens

    @property
    def num_positions(self) -> int | None:
        """Tokens that the model reads, with the answer; None: it does not say."""
        found: int | None = self._writer.backend.num_positions
        return found

    def ask(self, text: str) -> Iterator[str]:
        """The answer to what is said next, piece by piece; both are remembered once the answer is whole, or given up.

        Once this returns, ``num_left_out`` counts what had to go for it.

        Raises:
            DataError: the template refuses it, or it is longer than the model reads, even by itself.
        """
        self.answer = None
        before = self.messages, self.num_left_out
        kept, said = self._fitting(Message(USER, text))
        self.num_left_out += len(self.messages) - len(kept)
        return self._answered((*kept, said), before)

    def _answered(self, asked: tuple[Message, ...], before: tuple[tuple[Message, ...], int]) -> Iterator[str]:
        pieces: list[str] = []
        seed = (self._sampling.seed + self._num_answers) % SEEDS
        sampling = self._sampling.model_copy(update={"seed": seed})
        try:
            for piece in self._writer.stream(Conversation(asked), sampling):
                self.answer = piece.generation
                pieces.append(piece.text)
                yield piece.text
        finally:
            if pieces:
                self._num_answers += 1
                self.messages = (*asked, Message(ASSISTANT, "".join(pieces).strip()))
            else:
                self.messages, self.num_left_out = before

    def _fitting(self, said: Message) -> tuple[tuple[Message, ...], Message]:
        """The messages that leave an answer room, and the next.

        Raises:
            DataError: there is none, whatever is left out.
        """
        kept, longest = self.messages, self.num_positions
        room = self._writer.room(Conversation((*kept, said)))
        if longest is None:
            return kept, said
        wanted = min(self.max_new_tokens, max(1, longest // LEAST_ROOM))
        while room < wanted and kept != self._system:
            kept = without_oldest_turn(kept)
            room = self._writer.room(Conversation((*kept, said)))
        if room < 1:
            beside = " with the system message" if self._system else ""
            raise DataError(
                "this message is too long",
                why=f"it has {longest - room:,} tokens{beside}, and the model reads {longest:,} with the answer",
                remedy="say it in fewer words",
            )
        return kept, said

    def forget(self) -> None:
        """Begin anew, with the same system message."""
        self.messages, self.num_left_out = self._system, 0


def without_oldest_turn(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Without the first message that is no instruction and all that follows it up to the user's next message: answers,
    calls of tools and what they gave. Instructions stay."""
    begin = next((place for place, one in enumerate(messages) if one.role not in INSTRUCTS), len(messages))
    later = (place for place in range(begin + 1, len(messages)) if messages[place].role == USER)
    end = next(later, len(messages))
    return (*messages[:begin], *(one for one in messages[begin:end] if one.role in INSTRUCTS), *messages[end:])
