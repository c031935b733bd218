"""The scripted twin: set answers in order, and a memory."""

from __future__ import annotations

import pytest

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import InputError
from feinschliff.generation.port import Request
from feinschliff.generation.scripted import ScriptedBackend

SAMPLING = SamplingConfig()


def test_answers_are_given_in_order_and_requests_remembered() -> None:
    backend = ScriptedBackend(["one", "two words", "three"])
    first, second = Request(prompt="a"), Request(prompt="b", num_samples=2)
    assert [answer.text for answer in backend.generate([first, second], SAMPLING)] == ["one", "two words", "three"]
    assert backend.requests == [first, second]
    assert backend.calls == [((first, second), SAMPLING)]


def test_a_function_answers_by_request_and_sample() -> None:
    backend = ScriptedBackend(lambda request, sample: f"{request.prompt}{sample}")
    answers = backend.generate([Request(prompt="x"), Request(prompt="y")], SamplingConfig(n=2))
    assert [answer.text for answer in answers] == ["x0", "x1", "y0", "y1"]


def test_limits_and_stops_hold() -> None:
    backend = ScriptedBackend(lambda *_: "one two three four")
    request = [Request(prompt="x")]
    (short,) = backend.generate(request, SamplingConfig(max_new_tokens=2))
    assert (short.text, short.finish_reason) == ("one two", "length")
    (stopped,) = backend.generate(request, SamplingConfig(stop=("o th",)))
    assert (stopped.text, stopped.finish_reason) == ("one tw", "stop")
    (exact,) = backend.generate(request, SamplingConfig(max_new_tokens=4))
    assert (exact.text, exact.finish_reason) == ("one two three four", "stop")


def test_an_empty_answer_is_one() -> None:
    (answer,) = ScriptedBackend([""]).generate([Request(prompt="x")], SAMPLING)
    assert (answer.text, answer.ids) == ("", ())


def test_a_script_that_has_ended_says_so() -> None:
    backend = ScriptedBackend(["only"])
    with pytest.raises(InputError, match="script has ended"):
        backend.generate([Request(prompt="a"), Request(prompt="b")], SAMPLING)
