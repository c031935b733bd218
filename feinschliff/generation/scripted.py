"""The twin of a backend for tests and for trying things out: it gives set answers and remembers what it was asked.

Knows no model. A token of its answers is a word with the spaces before it; its id is the word's place in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import InputError
from feinschliff.generation.port import (
    FinishReason,
    Generation,
    OnToken,
    Piece,
    Request,
    collect,
    faults_of_form,
    num_samples,
    refuse,
)
from feinschliff.generation.text import TextStream

Answers = Sequence[str] | Callable[[Request, int], str]


@dataclass(slots=True)
class ScriptedBackend:
    """See ``port.Backend``. ``answers`` are given one after the other, or are a function of request and sample."""

    answers: Answers
    calls: list[tuple[tuple[Request, ...], SamplingConfig]] = field(default_factory=list)
    """Every call: its requests and its sampling."""
    _given: int = 0

    @property
    def requests(self) -> list[Request]:
        """All requests of all calls."""
        return [request for requests, _ in self.calls for request in requests]

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, on_token: OnToken | None = None
    ) -> list[Generation]:
        """See ``port.Backend``.

        Raises:
            InputError: requests of no form, or more of them than set answers.
        """
        return collect(self.stream(requests, sampling), on_token)

    def stream(self, requests: Sequence[Request], sampling: SamplingConfig) -> Iterator[Piece]:
        """See ``port.Backend``.

        Raises:
            InputError: as ``generate``.
        """
        refuse(faults_of_form(requests))
        self.calls.append((tuple(requests), sampling))
        for index, request in enumerate(requests):
            for sample in range(num_samples(request, sampling)):
                yield from _written(self._next(request, sample), index, sample, sampling)

    def _next(self, request: Request, sample: int) -> str:
        if callable(self.answers):
            return self.answers(request, sample)
        if self._given == len(self.answers):
            raise InputError(
                "the script has ended", why=f"all {self._given} answers are given", remedy="write more answers"
            )
        self._given += 1
        return self.answers[self._given - 1]


def _written(answer: str, request: int, sample: int, sampling: SamplingConfig) -> Iterator[Piece]:
    words = re.findall(r"\s*\S+|\s+$", answer)
    stream = TextStream(lambda ids: "".join(words[id] for id in ids), sampling.stop)
    reason: FinishReason = "stop"
    text, given = "", 0
    for given in range(1, len(words) + 1):
        text = stream.push(given - 1)
        is_cut = given == sampling.max_new_tokens and given < len(words)
        if stream.is_stopped or is_cut:
            reason = "stop" if stream.is_stopped else "length"
            break
        if given < len(words):
            yield Piece(request, sample, text, (given - 1,))
    text += stream.finish()
    whole = Generation(request, sample, stream.text, reason, tuple(range(given)))
    yield Piece(request, sample, text, (given - 1,) if given else (), whole)
