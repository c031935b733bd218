"""Generation by any endpoint that speaks OpenAI's HTTP: vLLM, llama.cpp, SGLang, Ollama, OpenAI itself. See
``port.Backend``.

Requests without ears are sent in parallel and answered whole; with ears, one after the other, text as it comes. What
may pass (no connection, too many requests, a server's own fault) is tried again with growing pauses, as long as nothing
of the answer has come. Knows no model: the prompt's tokens are the server's affair, and answers have text but no token
ids. The key is given, never looked up.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import FeinschliffError, InputError, ResourceError
from feinschliff.generation import openai_wire as wire
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

if TYPE_CHECKING:
    import httpx2

PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Status codes after which it is worth asking again."""
LONGEST_PAUSE_SECONDS = 60.0
UNREADABLE = (ValueError, RecursionError)
"""What a body that is no JSON raises: it may be no UTF-8 either, or nested without end."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to ask."""

    url: str
    """Of the API, such as http://localhost:8000/v1."""
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 300.0
    """Of one answer, and between two parts of a stream."""
    num_tries: int = 6
    pause_seconds: float = 1.0
    """Before the second try; doubled each time, unless the server says how long."""
    num_parallel: int = 8
    limit_field: str = "max_tokens"
    """How the longest answer is named; OpenAI's newer models want `max_completion_tokens`."""
    unset: tuple[str, ...] = ()
    """Fields that are not sent: some endpoints refuse them, or every value but their own."""


class _Passing(Exception):
    """Something that may be over at the next try."""

    def __init__(self, error: FeinschliffError, pause_seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.pause_seconds = error, pause_seconds


class OpenAIBackend:
    """``transport`` and ``sleep`` are for tests.

    Raises:
        InputError: the URL is none, or the key cannot be sent.
    """

    def __init__(
        self, endpoint: Endpoint, *, transport: Any = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        import httpx2

        if not endpoint.url.startswith(("http://", "https://")) or not _host(endpoint.url):
            remedy = "give it as http://HOST:PORT/v1 or https://HOST/v1"
            raise InputError(f"{endpoint.url!r} is no URL of an API", where="url", remedy=remedy)
        self.endpoint, self._sleep = endpoint, sleep
        self._url = endpoint.url.rstrip("/")
        headers = {} if endpoint.api_key is None else {"Authorization": f"Bearer {endpoint.api_key}"}
        timeout = httpx2.Timeout(endpoint.timeout_seconds, connect=min(10.0, endpoint.timeout_seconds))
        if endpoint.api_key is not None and not (endpoint.api_key.isascii() and endpoint.api_key.isprintable()):
            why = "a key is made of letters, digits and signs of ASCII"
            raise InputError("the endpoint's key cannot be sent", where="api_key", why=why, remedy="give the right key")
        self._client = httpx2.Client(headers=headers, timeout=timeout, transport=transport)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, on_token: OnToken | None = None
    ) -> list[Generation]:
        """See ``port.Backend``.

        Raises:
            InputError: requests that cannot be answered, or that the endpoint refuses.
            ResourceError: the endpoint cannot be reached, or answers in another form.
        """
        if on_token is not None:
            return collect(self.stream(requests, sampling), on_token)
        self._refuse_faults(requests, sampling)
        with ThreadPoolExecutor(self.endpoint.num_parallel) as pool:
            asked = [pool.submit(self._whole, index, request, sampling) for index, request in enumerate(requests)]
            try:
                return [answer for one in asked for answer in one.result()]
            finally:
                pool.shutdown(cancel_futures=True)

    def stream(self, requests: Sequence[Request], sampling: SamplingConfig) -> Iterator[Piece]:
        """See ``port.Backend``.

        Raises:
            InputError: as ``generate``.
            ResourceError: as ``generate``.
        """
        self._refuse_faults(requests, sampling)
        for index, request in enumerate(requests):
            yield from self._streamed(index, request, sampling)

    def _refuse_faults(self, requests: Sequence[Request], sampling: SamplingConfig) -> None:
        refuse([*faults_of_form(requests), *wire.faults_of_protocol(sampling)])

    def _body(self, request: Request, sampling: SamplingConfig) -> dict[str, Any]:
        body = wire.payload(request, sampling, self.endpoint.model, self.endpoint.limit_field)
        return {name: value for name, value in body.items() if name not in self.endpoint.unset}

    def _whole(self, index: int, request: Request, sampling: SamplingConfig) -> list[Generation]:
        url, body = f"{self._url}/{wire.path_of(request)}", self._body(request, sampling)

        def ask() -> list[Generation]:
            with _connection_faults(url):
                reply = self._client.post(url, json=body)
                self._refuse_status(reply, url)
            try:
                said = reply.json()
            except UNREADABLE:
                raise wire.other_form(url, f"no JSON: {reply.text[:80]!r}") from None
            return wire.generations(said, index, num_samples(request, sampling), url)

        return self._patiently(ask)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask until it works; what may pass is tried again, after pauses."""
        for number in range(self.endpoint.num_tries):
            try:
                return ask()
            except _Passing as passing:
                if number + 1 == self.endpoint.num_tries:
                    raise passing.error from None
                pause = passing.pause_seconds
                if pause is None:
                    pause = self.endpoint.pause_seconds * 2**number * random.uniform(0.75, 1.25)
                self._sleep(min(pause, LONGEST_PAUSE_SECONDS))
        raise InputError(f"num_tries is {self.endpoint.num_tries}", remedy="try at least once")

    def _streamed(self, index: int, request: Request, sampling: SamplingConfig) -> Iterator[Piece]:
        url = f"{self._url}/{wire.path_of(request)}"
        body = self._body(request, sampling) | {"stream": True}

        def ask() -> tuple[httpx2.Response, Iterator[Any], Any]:
            """The stream with its first event, which is still tried again."""
            with _connection_faults(url):
                built = self._client.build_request("POST", url, json=body)
                reply = self._client.send(built, stream=True)
                self._refuse_status(reply, url)
                events = _events(reply, url)
                return reply, events, next(events, None)

        reply, events, first = self._patiently(ask)
        texts = [""] * num_samples(request, sampling)
        reasons: list[FinishReason | None] = [None] * len(texts)
        try:
            with _connection_faults(url, "the answer broke off"):
                for event in [] if first is None else _chain(first, events):
                    for sample, text, reason in wire.deltas(event, url):
                        if sample >= len(texts):
                            raise wire.other_form(url, f"answer {sample + 1} where {len(texts)} were asked for")
                        texts[sample] += text
                        reasons[sample] = wire.reason_of(reason) if reason else reasons[sample]
                        if text:
                            yield Piece(index, sample, text)
        except _Passing as passing:
            raise passing.error from None
        finally:
            reply.close()
        yield from _ends(index, texts, reasons, url)

    def _refuse_status(self, reply: httpx2.Response, url: str) -> None:
        if reply.status_code < 400:
            return
        reply.read()
        try:
            said = wire.message_of(reply.json())
        except UNREADABLE:
            said = reply.text[:200]
        code, why = reply.status_code, f"status {reply.status_code}: {said}".rstrip(": ")
        if code in PASSING:
            remedy = "ask again later, or with fewer requests at a time"
            raise _Passing(
                ResourceError("the endpoint does not answer now", where=url, why=why, remedy=remedy), _wait(reply)
            )
        if code in (401, 403):
            raise InputError("the endpoint refuses the key", where=url, why=why, remedy="give the right API key")
        if code == 404:
            remedy = f"check the URL (it usually ends in /v1) and the model's name ({self.endpoint.model!r})"
            raise InputError("the endpoint does not know this address or model", where=url, why=why, remedy=remedy)
        raise InputError("the endpoint refuses the request", where=url, why=why, remedy="change what it names")


def _host(url: str) -> str:
    import httpx2

    try:
        return httpx2.URL(url).host
    except httpx2.InvalidURL:
        return ""


def _chain(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others


def _ends(index: int, texts: Sequence[str], reasons: Sequence[FinishReason | None], url: str) -> Iterator[Piece]:
    for sample, (text, reason) in enumerate(zip(texts, reasons, strict=True)):
        if reason is None:
            remedy = "ask again; if it happens again, look at the server's log"
            raise ResourceError("the answer broke off", where=url, why="it ended without a reason", remedy=remedy)
        yield Piece(index, sample, "", generation=Generation(index, sample, text, reason))


def _events(reply: httpx2.Response, url: str) -> Iterator[Any]:
    """The JSON events of a stream (server-sent events, ended by ``[DONE]``)."""
    for line in reply.iter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
        except UNREADABLE:
            raise wire.other_form(url, f"no JSON: {data[:80]!r}") from None
        yield event


@contextmanager
def _connection_faults(url: str, what: str = "the endpoint cannot be reached") -> Iterator[None]:
    """What the connection raises becomes something that may pass; a body that cannot be unpacked will not."""
    import httpx2

    try:
        yield
    except httpx2.TransportError as error:
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        remedy = "check that the server runs and that the URL is right"
        raise _Passing(ResourceError(what, where=url, why=why, remedy=remedy)) from None
    except httpx2.RequestError as error:
        raise wire.other_form(url, f"{type(error).__name__}: {error}".rstrip(": ")) from None


def _wait(reply: httpx2.Response) -> float | None:
    """Seconds the server wants to be left alone; None where it does not say, or says a date."""
    try:
        return max(0.0, float(reply.headers.get("retry-after", "")))
    except ValueError:
        return None
