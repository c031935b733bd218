"""Answers kept to a schema or an expression; the library missing is an error with the remedy."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import ConfigError, ResourceError
from feinschliff.generation.port import Request
from feinschliff.generation.structured import Grammars
from feinschliff.generation.transformers_backend import TransformersBackend
from tests.generation import tiny

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "ok": {"type": "boolean"},
        "kind": {"enum": ["top", "low"]},
        "n": {"type": "integer", "maximum": 99},
    },
    "required": ["ok", "kind", "n"],
    "additionalProperties": False,
}
PROMPTS = [Request(ids=prompt) for prompt in tiny.prompts(5, 20, 11)]


@pytest.fixture(scope="module")
def made() -> TransformersBackend:
    """A random model: without a grammar it writes noise."""
    pytest.importorskip("llguidance", reason="pip install 'feinschliff[structured]'")
    return TransformersBackend(tiny.model("llama"), tiny.tokenizer())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_fit_the_schema(made: TransformersBackend, temperature: float) -> None:
    sampling = SamplingConfig(
        json_schema=json.dumps(SCHEMA), temperature=temperature, max_new_tokens=150, n=3, min_p=0.01
    )
    answers = made.generate(PROMPTS, sampling)
    assert {answer.finish_reason for answer in answers} == {"stop"}
    for value in (json.loads(answer.text) for answer in answers):
        assert list(value) == ["ok", "kind", "n"]
        assert type(value["ok"]) is bool
        assert value["kind"] in ("top", "low")
        assert value["n"] <= 99


@pytest.mark.parametrize("expression", ["(hello|top){2,3}!!", "[0-9]{4}-[0-9]{2}", "ä+b?"])
def test_answers_match_the_expression(made: TransformersBackend, expression: str) -> None:
    answers = made.generate(PROMPTS, SamplingConfig(regex=expression, temperature=1.0, max_new_tokens=60, n=4))
    assert all(re.fullmatch(expression, answer.text) for answer in answers if answer.finish_reason == "stop")
    assert any(answer.finish_reason == "stop" for answer in answers)
    assert len({answer.text for answer in answers}) > 1


def test_answers_beside_each_other_follow_their_own_grammar_states(made: TransformersBackend) -> None:
    sampling = SamplingConfig(regex="[ab]{3}", temperature=1.0, n=20)
    together = made.generate(PROMPTS[:1], sampling)
    assert all(re.fullmatch("[ab]{3}", answer.text) for answer in together)
    assert [made.generate(PROMPTS[:1], sampling)[k].text for k in range(3)] == [a.text for a in together[:3]]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"regex": "(unclosed"}, "regex"),
        ({"json_schema": '{"type": "thing"}'}, "json_schema"),
        ({"json_schema": "3"}, "json_schema"),
    ],
)
def test_what_cannot_be_followed_is_refused(made: TransformersBackend, given: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match="cannot be followed") as caught:
        made.generate(PROMPTS, SamplingConfig(**given))
    assert caught.value.faults[0].where == field
    assert caught.value.faults[0].why


def test_a_missing_library_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    grammars = Grammars(tiny.tokenizer(), [tiny.END])
    assert grammars.start(SamplingConfig()) is None
    with pytest.raises(ResourceError, match="llguidance") as caught:
        grammars.start(SamplingConfig(regex="a"))
    assert caught.value.faults[0].remedy == "pip install 'feinschliff[structured]'"


def test_it_is_loaded_where_it_is_used() -> None:
    import subprocess

    code = "import sys, feinschliff.generation.transformers_backend; print('llguidance' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
