"""What every backend takes and gives: requests in, answers out, whole or piece by piece. Knows no model and no
backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import Fault, InputError

FinishReason = Literal["stop", "length", "filtered"]
"""stop: the end token, a stop string or the end of a grammar; length: no more tokens allowed; filtered: withheld by a
service."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be continued: token ids, or a plain text, or the messages of a chat; exactly one of them."""

    ids: Sequence[int] | None = None
    """As the model reads them, template and special tokens included."""
    prompt: str | None = None
    """Continued as it is, without a chat template."""
    messages: Sequence[Mapping[str, Any]] | None = None
    """``role`` and ``content`` each; put into the model's own chat template, the answer is the next assistant turn."""
    num_samples: int | None = None
    """Answers to this one; None: ``sampling.n``."""

    @property
    def num_given(self) -> int:
        """How many of the three were given."""
        return sum(given is not None for given in (self.ids, self.prompt, self.messages))


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer."""

    request: int
    """Place of its request in the sequence that was given."""
    sample: int
    """Which of the answers to this request."""
    text: str
    """Without special tokens, cut before the stop string."""
    finish_reason: FinishReason
    ids: tuple[int, ...] = ()
    """The tokens as they were chosen, the end token included; empty where a backend gives text alone."""
    logprobs: tuple[float, ...] | None = None
    """Of ``ids``, if ``sampling.logprobs`` asks for them and the backend knows them."""
    num_prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What came last of an answer. Joined, the texts of an answer's pieces are its text."""

    request: int
    sample: int
    text: str
    """May be empty: a character that is not whole, or what may become a stop string, is held back."""
    ids: tuple[int, ...] = ()
    generation: Generation | None = None
    """The whole answer, with its last piece."""


OnToken = Callable[[Piece], None]


class Backend(Protocol):
    """Where tokens come from."""

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, on_token: OnToken | None = None
    ) -> list[Generation]:
        """All answers, ordered by request and sample; ``on_token`` sees every piece when it comes.

        Raises:
            InputError: requests that cannot be answered, all of them at once.
        """
        ...

    def stream(self, requests: Sequence[Request], sampling: SamplingConfig) -> Iterator[Piece]:
        """The pieces of all answers as they come.

        Raises:
            InputError: as ``generate``, before the first piece.
        """
        ...


def collect(pieces: Iterable[Piece], on_token: OnToken | None = None) -> list[Generation]:
    """The answers in a stream, ordered by request and sample."""
    done: list[Generation] = []
    for piece in pieces:
        if on_token is not None:
            on_token(piece)
        if piece.generation is not None:
            done.append(piece.generation)
    return sorted(done, key=lambda answer: (answer.request, answer.sample))


def num_samples(request: Request, sampling: SamplingConfig) -> int:
    """How many answers a request gets."""
    return sampling.n if request.num_samples is None else request.num_samples


def place_of(index: int) -> str:
    """How faults name a request."""
    return f"request {index + 1}"


def faults_of_form(requests: Sequence[Request]) -> list[Fault]:
    """Requests that no backend could answer."""
    found = []
    for index, request in enumerate(requests):
        where = place_of(index)
        if request.num_given != 1:
            why = f"{request.num_given} of ids, prompt and messages are given"
            found.append(Fault("it is not clear what is to be continued", where, why, "give exactly one of them"))
        elif request.ids is not None and not len(request.ids):
            found.append(Fault("there is nothing to continue", where, "it has no token", "give at least one token"))
        elif request.messages is not None and not len(request.messages):
            found.append(Fault("there is nothing to answer", where, "it has no message", "give at least one message"))
        if request.num_samples is not None and request.num_samples < 1:
            found.append(Fault(f"num_samples is {request.num_samples}", where, None, "ask for at least one answer"))
    return found


def refuse(faults: Sequence[Fault]) -> None:
    """Say all faults at once.

    Raises:
        InputError: there is at least one.
    """
    if faults:
        raise InputError(faults)
