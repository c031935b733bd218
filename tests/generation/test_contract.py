"""What every backend promises: answers in order, pieces that join to them, faults before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import InputError
from feinschliff.generation.openai_backend import Endpoint, OpenAIBackend
from feinschliff.generation.port import Backend, Piece, Request
from feinschliff.generation.scripted import ScriptedBackend
from feinschliff.generation.transformers_backend import TransformersBackend
from tests.generation import tiny
from tests.generation.stub_server import Asked, Reply, chat, delta, serving

REQUESTS = [
    Request(messages=[{"role": "user", "content": "hello"}]),
    Request(messages=[{"role": "user", "content": "top"}], num_samples=3),
]
SAMPLING = SamplingConfig(max_new_tokens=12, temperature=1.0, n=2)


def _answer(_: int, asked: Asked) -> Reply:
    word, count = asked.body["messages"][0]["content"], asked.body["n"]
    if not asked.body.get("stream"):
        return chat(*(f"{word} {sample}" for sample in range(count)))
    events = [delta(f"{word} ", sample) for sample in range(count)]
    return Reply(events=[*events, *(delta(str(sample), sample, "stop") for sample in range(count))])


@contextmanager
def over_http() -> Iterator[Backend]:
    with serving(_answer) as stub:
        made = OpenAIBackend(Endpoint(stub.url, "m"))
        yield made
        made.close()


BACKENDS: dict[str, Callable[[], AbstractContextManager[Backend]]] = {
    "transformers": lambda: nullcontext(TransformersBackend(tiny.model("llama"), tiny.tokenizer())),
    "scripted": lambda: nullcontext(ScriptedBackend(lambda request, sample: f"answer {sample}")),
    "openai": over_http,
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each of them."""
    with BACKENDS[request.param]() as made:
        yield made


def test_answers_come_by_request_and_sample(backend: Backend) -> None:
    answers = backend.generate(REQUESTS, SAMPLING)
    assert [(answer.request, answer.sample) for answer in answers] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert all(answer.text for answer in answers)


def test_with_ears_and_without_the_answers_are_the_same(backend: Backend) -> None:
    heard: list[Piece] = []
    with_ears = backend.generate(REQUESTS, SAMPLING, heard.append)
    without = backend.generate(REQUESTS, SAMPLING)
    assert [(a.text, a.finish_reason) for a in with_ears] == [(a.text, a.finish_reason) for a in without]
    assert [piece.generation for piece in heard if piece.generation] != []


def test_pieces_join_to_answers(backend: Backend) -> None:
    pieces = list(backend.stream(REQUESTS, SAMPLING))
    whole = {(p.request, p.sample): p.generation for p in pieces if p.generation is not None}
    assert len(whole) == 5
    for key, answer in whole.items():
        own = [piece for piece in pieces if (piece.request, piece.sample) == key]
        assert "".join(piece.text for piece in own) == answer.text
        assert own[-1].generation is answer


def test_nothing_asked_is_nothing_answered(backend: Backend) -> None:
    assert backend.generate([], SAMPLING) == []
    assert list(backend.stream([], SAMPLING)) == []


def test_all_faults_at_once(backend: Backend) -> None:
    with pytest.raises(InputError) as caught:
        backend.generate([Request(), REQUESTS[0], Request(ids=[]), Request(prompt="a", num_samples=0)], SAMPLING)
    assert [fault.where for fault in caught.value.faults] == ["request 1", "request 3", "request 4"]
