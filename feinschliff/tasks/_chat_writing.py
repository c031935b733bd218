"""Answers that a decoder writes to conversations, and the right ones as it would have to write them.

Through the generation port. Knows no metric and no loss.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from feinschliff.config.generation import SamplingConfig
from feinschliff.data.conversations import Conversation
from feinschliff.data.examples import Example, Place
from feinschliff.data.tables import MAX_FAULTS_SHOWN, at
from feinschliff.errors import DataError, Fault, ModelError
from feinschliff.generation.port import Generation, Piece, Request
from feinschliff.generation.transformers_backend import TransformersBackend
from feinschliff.models.chat_rows import ChatRenderer
from feinschliff.models.chat_turns import ChatMessages
from feinschliff.models.decoder import LoadedDecoder, set_end_ids
from feinschliff.results.prediction import INPUT, PredictionResult
from feinschliff.tasks._shown import joined

BAD_EXAMPLE = "their last answer has weight 0, so it is no answer to be compared with"
NOTHING = ("there is nothing to continue", "it has no token", "give a text with at least a word")
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


@dataclass(frozen=True, slots=True)
class WrittenAnswers:
    """What was written to examples, by their numbers."""

    generations: Mapping[int, Generation]
    faults: Mapping[int, Fault]
    """Of examples that could not be asked."""
    notes: Sequence[str]
    """How many answers had not ended."""

    @property
    def texts(self) -> dict[int, str]:
        """The answers alone."""
        return dict(zip(self.generations, texts_of(list(self.generations.values())), strict=True))

    def results(self, examples: Sequence[Example]) -> list[PredictionResult]:
        """One an example: what was written, or why nothing was."""
        return [self._result(number, example) for number, example in enumerate(examples)]

    def _result(self, number: int, example: Example) -> PredictionResult:
        text, file, line = joined(example), example.place.file, example.place.line
        if number in self.faults:
            fault = self.faults[number]
            error = fault.what + (f": {fault.why}" if fault.why else "")
            return PredictionResult(text=text, error=error, file=file, line=line)
        found = self.generations[number]
        reason: Literal["stop", "length"] = "length" if _is_cut(found) else "stop"
        return PredictionResult(text=text, written=found.text.strip(), finish_reason=reason, file=file, line=line)


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
        return Request(ids=self.prompt_ids(chat.without_answer(), _where(example.place)))

    def asked(self, example: Example) -> Request | Fault:
        """The same, or what is wrong with it: refused by the template, without a token, or too long."""
        try:
            request = self.request(example)
        except DataError as error:
            return error.faults[0]
        why = self.backend.why_not(request.ids) if request.ids else NOTHING
        return request if why is None else Fault(why[0], _where(example.place), *why[1:])

    def room(self, chat: Conversation) -> int | None:
        """Tokens that the model has left for the answer, less than one where the prompt is too long; None: no limit.

        Raises:
            DataError: the template refuses these messages.
        """
        longest = self.backend.num_positions
        return None if longest is None else longest - len(self.prompt_ids(chat, "chat"))

    def prompt_ids(self, chat: Conversation, where: str) -> list[int]:
        """The prompt of a conversation that waits for an answer."""
        messages: list[Mapping[str, Any]] = [message.as_given() for message in chat.messages]
        try:
            return self._renderer.prompt_ids(messages, list(chat.tools))
        except ModelError as error:
            what = f"the chat template refuses these messages: {error.faults[0].why}"
            raise DataError(what, where=where, remedy="change their roles or order") from error

    def askable(self, examples: Sequence[Example], most: int) -> Askable:
        """Conversations that the template and the model's length let be asked; drawn on until there are ``most``."""
        found = Askable([], Counter(), {})
        for row in np.random.default_rng(len(examples)).permutation(len(examples)).tolist():
            if len(found.rows) == most:
                break
            chat = examples[row].conversation
            if chat is None:
                continue
            if _is_a_bad_example(chat):
                found.refused[BAD_EXAMPLE] += 1
                found.reasons.setdefault(BAD_EXAMPLE, "")
                continue
            asked = self.asked(examples[row])
            if isinstance(asked, Request):
                found.rows.append(row)
            else:
                found.refused[asked.what] += 1
                found.reasons.setdefault(asked.what, f": {asked.why}" if asked.why else "")
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
        return self._written([self.request(example) for example in examples], sampling, on_rows)

    def _written(
        self, requests: Sequence[Request], sampling: SamplingConfig, on_rows: Callable[[int], None]
    ) -> list[Generation]:
        def done(piece: Piece) -> None:
            if piece.generation is not None:
                on_rows(1)

        return self.backend.generate(requests, sampling, done)

    def answered(
        self,
        examples: Sequence[Example],
        sampling: SamplingConfig,
        on_rows: Callable[[int], None] = lambda _: None,
        *,
        leaves_out: bool = False,
    ) -> WrittenAnswers:
        """An answer to each example that can be asked. All are looked at before anything is written.

        Raises:
            DataError: some cannot be asked, or, where those may be left out, none can.
        """
        looked = [self.asked(example) for example in examples]
        faults = {number: one for number, one in enumerate(looked) if isinstance(one, Fault)}
        requests = {number: one for number, one in enumerate(looked) if isinstance(one, Request)}
        if faults and (not leaves_out or not requests):
            raise DataError(_shown(list(faults.values())))
        on_rows(len(faults))
        found = self._written(list(requests.values()), sampling, on_rows)
        notes = unfinished(found, sampling, option=" / --max-new-tokens", so=_so_cut(sampling))
        return WrittenAnswers(dict(zip(requests, found, strict=True)), faults, notes)

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

    def stream(self, chat: Conversation, sampling: SamplingConfig) -> Iterator[Piece]:
        """The answer to a conversation, piece by piece.

        Raises:
            DataError: the template refuses these messages.
            InputError: they are too long.
        """
        return self.backend.stream([Request(ids=self.prompt_ids(chat, "chat"))], sampling)


def texts_of(answers: Sequence[Generation]) -> list[str]:
    """What was written, without blanks around it."""
    return [answer.text.strip() for answer in answers]


def unfinished(
    answers: Sequence[Generation],
    asked: SamplingConfig,
    *,
    option: str = "",
    so: str = " and are judged as far as they go",
) -> list[str]:
    """How many answers were cut, and by what; ``so``: what becomes of them."""
    lengths = [len(answer.ids) for answer in answers if _is_cut(answer)]
    longest = sum(length == asked.max_new_tokens for length in lengths)
    said = [(longest, f"had not ended after {asked.max_new_tokens:,} tokens (task.max_new_tokens{option})")]
    said.append((len(lengths) - longest, "had not ended where the model has no more positions"))
    return [f"{n:,} of {len(answers):,} answers {what}{so}" for n, what in said if n]


def _is_cut(answer: Generation) -> bool:
    return answer.finish_reason == "length"


def _so_cut(sampling: SamplingConfig) -> str:
    if not sampling.is_structured:
        return ""
    return ", so they are not complete JSON" if sampling.regex is None else ", so they need not match the expression"


def _where(place: Place) -> str:
    """How faults name an example: file and line, or which of the texts given it is."""
    return f"text {place.line}" if place.file == INPUT else at(place.file, place.line)


def _shown(faults: list[Fault]) -> list[Fault]:
    hidden = len(faults) - MAX_FAULTS_SHOWN
    return faults if hidden <= 0 else [*faults[:MAX_FAULTS_SHOWN], Fault(f"... and {hidden:,} more")]


def _is_a_bad_example(chat: Conversation) -> bool:
    """Whether the last answer is marked as one that nothing is learned of."""
    answer = chat.answer
    return answer is not None and answer.weight == 0 and not any(span.weight for span in answer.spans)
