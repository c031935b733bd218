"""Answers over HTTP from a server on this machine: what is sent, what comes back, and what happens when it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import InputError, ResourceError
from feinschliff.generation.openai_backend import Endpoint, OpenAIBackend
from feinschliff.generation.port import Piece, Request
from tests.generation.stub_server import Asked, Reply, Stub, chat, completion, delta, serving

HELLO = Request(messages=[{"role": "user", "content": "hello"}])
SAMPLING = SamplingConfig()


def backend(stub: Stub, pauses: list[float] | None = None, **options: Any) -> OpenAIBackend:
    return OpenAIBackend(Endpoint(stub.url, "m", **options), sleep=(pauses if pauses is not None else []).append)


def always(reply: Reply) -> Callable[[int, Asked], Reply]:
    return lambda *_: reply


def after(*replies: Reply) -> Callable[[int, Asked], Reply]:
    return lambda number, _: replies[min(number, len(replies) - 1)]


def test_what_is_sent() -> None:
    sampling = SamplingConfig(
        max_new_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop=("a", "b"),
        seed=3,
        n=2,
        json_schema='{"type": "null"}',
    )
    with serving(lambda _, asked: chat(*["x"] * asked.body["n"])) as stub:
        backend(stub, api_key="secret").generate([HELLO], sampling)
    (asked,) = stub.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.key == "Bearer secret"
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "n": 2,
        "seed": 3,
        "stop": ["a", "b"],
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": {"type": "null"}},
        },
    }


def test_the_key_is_never_shown() -> None:
    assert "secret" not in repr(Endpoint("http://a/v1", "m", api_key="secret"))


def test_texts_and_tokens_go_to_completions() -> None:
    with serving(always(completion("x"))) as stub:
        made = backend(stub, limit_field="max_completion_tokens", num_parallel=1)
        answers = made.generate([Request(prompt="hi"), Request(ids=[4, 5])], SAMPLING)
    assert [asked.path for asked in stub.asked] == ["/v1/completions"] * 2
    assert [asked.body["prompt"] for asked in stub.asked] == ["hi", [4, 5]]
    assert stub.asked[0].body["max_completion_tokens"] == SAMPLING.max_new_tokens
    assert "max_tokens" not in stub.asked[0].body
    assert [(answer.text, answer.finish_reason) for answer in answers] == [("x", "length")] * 2


def test_answers_come_in_the_order_of_requests_and_samples() -> None:
    def answer(_: int, asked: Asked) -> Reply:
        word = asked.body["messages"][0]["content"]
        reply = chat(*(f"{word}{sample}" for sample in range(asked.body["n"])))
        reply.body["choices"].reverse()
        return reply

    requests = [Request(messages=[{"role": "user", "content": f"q{k}."}], num_samples=k % 3 + 1) for k in range(12)]
    with serving(answer) as stub:
        answers = backend(stub, num_parallel=5).generate(requests, SAMPLING)
    assert [(a.request, a.sample, a.text) for a in answers] == [
        (k, sample, f"q{k}.{sample}") for k in range(12) for sample in range(k % 3 + 1)
    ]
    assert answers[0].num_prompt_tokens == 7


@pytest.mark.parametrize(
    ("theirs", "ours"), [("stop", "stop"), ("length", "length"), ("content_filter", "filtered"), ("tool_calls", "stop")]
)
def test_finish_reasons(theirs: str, ours: str) -> None:
    with serving(always(chat("x", reason=theirs))) as stub:
        assert backend(stub).generate([HELLO], SAMPLING)[0].finish_reason == ours


def test_logprobs_of_both_forms() -> None:
    in_chat, in_completion = chat("x"), completion("x")
    in_chat.body["choices"][0]["logprobs"] = {"content": [{"token": "x", "logprob": -0.5}]}
    in_completion.body["choices"][0]["logprobs"] = {"token_logprobs": [-0.25]}
    with serving(lambda _, asked: in_chat if "chat" in asked.path else in_completion) as stub:
        sampling = SamplingConfig(logprobs=True)
        answers = backend(stub, num_parallel=1).generate([HELLO, Request(prompt="p")], sampling)
    assert [answer.logprobs for answer in answers] == [(-0.5,), (-0.25,)]
    assert [asked.body["logprobs"] for asked in stub.asked] == [True, 1]


def test_what_may_pass_is_tried_again_with_growing_pauses() -> None:
    pauses: list[float] = []
    replies = [
        Reply(503, "busy"),
        Reply(429, {"error": {"message": "slow"}}, headers={"Retry-After": "3"}),
        Reply(500, ""),
    ]
    with serving(after(*replies, chat("at last"))) as stub:
        answers = backend(stub, pauses).generate([HELLO], SAMPLING)
    assert answers[0].text == "at last"
    assert len(pauses) == 3
    assert 0.75 <= pauses[0] <= 1.25
    assert pauses[1] == 3.0
    assert 3.0 <= pauses[2] <= 5.0


def test_patience_ends_and_says_why() -> None:
    pauses: list[float] = []
    with (
        serving(always(Reply(429, {"error": {"message": "quota used up"}}))) as stub,
        pytest.raises(ResourceError, match="does not answer now") as caught,
    ):
        backend(stub, pauses, num_tries=3).generate([HELLO], SAMPLING)
    assert len(stub.asked) == 3
    assert len(pauses) == 2
    assert "status 429: quota used up" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "what", "why"),
    [
        (401, "refuses the key", "bad key"),
        (404, "does not know", "no such model"),
        (400, "refuses the request", "top_k?"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_what_will_not_pass_is_said_at_once(status: int, what: str, why: str, streams: bool) -> None:
    with (
        serving(always(Reply(status, {"error": {"message": why}}))) as stub,
        pytest.raises(InputError, match=what) as caught,
    ):
        backend(stub).generate([HELLO], SAMPLING, (lambda _: None) if streams else None)
    assert len(stub.asked) == 1
    (fault,) = caught.value.faults
    assert fault.where == f"{stub.url}/chat/completions"
    assert fault.why == f"status {status}: {why}"
    assert fault.remedy


GZIP = {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body="<html>hello</html>"),
        Reply(body=b'{"choices": "caf\xe9"}'),
        Reply(body=b"\x1f\x8b\x08\x00" + b"broken" * 9, headers=GZIP),
        Reply(body="[" * 100_000),
        Reply(body='{"choices": [], "usage": {"prompt_tokens": ' + "9" * 5000 + "}}"),
        Reply(body={"answers": []}),
        Reply(body=[1, 2]),
        Reply(body={"choices": [{"message": "text"}]}),
        chat("one", "too many"),
    ],
    ids=["html", "latin-1", "gzip", "nested", "long number", "no choices", "a list", "another message", "too many"],
)
def test_another_form_is_an_error_with_a_remedy(reply: Reply) -> None:
    with serving(always(reply)) as stub, pytest.raises(ResourceError, match="another form") as caught:
        backend(stub).generate([HELLO], SAMPLING)
    assert "/v1" in str(caught.value.faults[0].remedy)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body="data: " + "[" * 100_000 + "\n\n"),
        Reply(body=b"data: {\xff\n\n"),
        Reply(body=b"broken", headers=GZIP),
    ],
    ids=["nested", "no UTF-8", "gzip"],
)
def test_another_form_in_a_stream(reply: Reply) -> None:
    with serving(always(reply)) as stub, pytest.raises(ResourceError, match="another form"):
        list(backend(stub).stream([HELLO], SAMPLING))


@pytest.mark.parametrize("status", [400, 503])
def test_an_error_whose_body_cannot_be_unpacked(status: int) -> None:
    with serving(always(Reply(status, body=b"broken", headers=GZIP))) as stub, pytest.raises(InputError) as caught:
        backend(stub, num_tries=2).generate([HELLO], SAMPLING)
    assert "DecodingError" in str(caught.value)
    with serving(always(Reply(status, body=b"\xff{"))) as stub, pytest.raises(InputError, match=f"status {status}"):
        backend(stub, num_tries=2).generate([HELLO], SAMPLING)


@pytest.mark.parametrize("key", ["\u043a\u043b\u044e\u0447", "two\nlines"])
def test_a_key_that_cannot_be_sent_is_not_shown(key: str) -> None:
    with pytest.raises(InputError, match="key cannot be sent") as caught:
        OpenAIBackend(Endpoint("http://localhost:1/v1", "m", api_key=key))
    assert key not in str(caught.value)


def test_nobody_listens() -> None:
    with serving(always(chat("x"))) as stub:
        pass
    pauses: list[float] = []
    with pytest.raises(ResourceError, match="cannot be reached") as caught:
        backend(stub, pauses, num_tries=2).generate([HELLO], SAMPLING)
    assert len(pauses) == 1
    assert "ConnectError" in str(caught.value)


def test_a_server_that_is_silent_is_given_up() -> None:
    import threading

    release = threading.Event()

    def answer(*_: Any) -> Reply:
        release.wait(10)
        return chat("late")

    with serving(answer) as stub:
        with pytest.raises(ResourceError, match="ReadTimeout"):
            backend(stub, timeout_seconds=0.05, num_tries=2).generate([HELLO], SAMPLING)
        release.set()


def test_a_stream_gives_text_as_it_comes() -> None:
    events = [
        delta(""),
        delta("He", 0),
        delta("Yo", 1),
        delta("llo", 0),
        delta(None, 1, "stop"),
        delta(None, 0, "length"),
    ]
    heard: list[Piece] = []
    with serving(always(Reply(events=events))) as stub:
        answers = backend(stub).generate([HELLO], SamplingConfig(n=2), heard.append)
    assert stub.asked[0].body["stream"] is True
    assert [(piece.sample, piece.text) for piece in heard if piece.text] == [(0, "He"), (1, "Yo"), (0, "llo")]
    assert [(a.text, a.finish_reason) for a in answers] == [("Hello", "length"), ("Yo", "stop")]


def test_a_stream_begins_again_before_its_first_piece_only() -> None:
    pauses: list[float] = []
    cut = Reply(events=[delta("He")], breaks_off=True)
    with serving(after(Reply(502, ""), cut)) as stub:
        made = backend(stub, pauses)
        heard: list[Piece] = []
        with pytest.raises(ResourceError, match="broke off"):
            made.generate([HELLO], SAMPLING, heard.append)
    assert len(stub.asked) == 2
    assert len(pauses) == 1
    assert [piece.text for piece in heard] == ["He"]


@pytest.mark.parametrize(
    ("events", "match"),
    [
        ([{"error": {"message": "out of memory"}}], "out of memory"),
        ([delta("x"), delta(None, 5, "stop")], "answer 6 where 1"),
        ([delta("x")], "without a reason"),
        ([{"object": "?"}], "another form"),
    ],
)
def test_streams_that_go_wrong(events: list[Any], match: str) -> None:
    with serving(always(Reply(events=events))) as stub, pytest.raises(ResourceError, match=match):
        list(backend(stub).stream([HELLO], SAMPLING))


def test_all_faults_before_anything_is_sent() -> None:
    with serving(always(chat("x"))) as stub, pytest.raises(InputError) as caught:
        backend(stub).generate([Request(), HELLO, Request(messages=[])], SamplingConfig(regex="a+"))
    assert [fault.where for fault in caught.value.faults] == ["request 1", "request 3", "regex"]
    assert stub.asked == []


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://a/v1", "http://", "https:///v1", ""])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(InputError, match="no URL"):
        OpenAIBackend(Endpoint(url, "m"))


def test_json_that_is_cut() -> None:
    with (
        serving(always(Reply(body=json.dumps(chat("x").body)[:-5]))) as stub,
        pytest.raises(ResourceError, match="no JSON"),
    ):
        backend(stub).generate([HELLO], SAMPLING)
