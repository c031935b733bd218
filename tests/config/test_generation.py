"""Sampling parameters: greedy by default, and what does not fit together is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from feinschliff.config.generation import SamplingConfig


def test_the_defaults_are_greedy_and_change_nothing() -> None:
    sampling = SamplingConfig()
    assert sampling.is_greedy
    assert not sampling.is_structured
    assert (sampling.top_p, sampling.top_k, sampling.min_p, sampling.repetition_penalty) == (1.0, None, 0.0, 1.0)
    assert (sampling.n, sampling.stop, sampling.seed) == (1, (), 0)
    assert not SamplingConfig(temperature=0.1).is_greedy
    assert SamplingConfig(regex="a").is_structured


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"temperature": -0.1}, "greater than or equal to 0"),
        ({"temperature": 1e-40}, "at least 0.001 .*become infinite"),
        ({"temperature": 0.0009}, "or 0 for always the likeliest token"),
        ({"top_p": 0.0}, "greater than 0"),
        ({"top_k": 0}, "greater than or equal to 1"),
        ({"stop": ("",)}, "before it begins"),
        ({"json_schema": "{"}, "not JSON"),
        ({"json_schema": "{}", "regex": "a"}, "keep one"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "more than max_new_tokens 8"),
        ({"repetition_penalty": 1e-40}, "greater than or equal to 0.01"),
        ({"do_sample": True}, "Extra inputs"),
        ({"frequency_penalty": float("nan")}, "finite"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SamplingConfig(**given)  # type: ignore[arg-type]


def test_every_field_says_what_it_is() -> None:
    assert all(info.description for info in SamplingConfig.model_fields.values())
