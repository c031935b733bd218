"""Rules across the parts of a configuration: each holds where it should and speaks where it should."""

from __future__ import annotations

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.config.rules import RULES, check
from feinschliff.config.run import RunConfig


def test_the_defaults_break_no_rule() -> None:
    assert check(RunConfig()) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DataConfig(validation_fraction=0.5, test_fraction=0.5), "nothing to train on"),
        (DataConfig(text=("a", "b", "c")), "3 columns"),
        (DataConfig(text=("a", "a")), "2 columns"),
        (DataConfig(text=("a",), target="a"), "is a text column too"),
        (DataConfig(target="a", group="a"), "both label and group"),
        (DataConfig(time="day", test=("t.csv",)), "both given"),
    ],
)
def test_a_broken_rule_says_so(data: DataConfig, words: str) -> None:
    (fault,) = check(RunConfig(data=data))
    assert words in fault.what


@pytest.mark.parametrize(
    "data",
    [
        DataConfig(validation_fraction=0.5, test_fraction=0.5, test=("t.csv",)),
        DataConfig(text=("a", "b"), target="c", group="a"),
        DataConfig(time="day"),
    ],
)
def test_what_makes_sense_passes(data: DataConfig) -> None:
    assert check(RunConfig(data=data)) == []


def test_every_rule_has_a_reason() -> None:
    assert all(rule.__doc__ for rule in RULES)


@pytest.mark.parametrize(("method", "faults"), [("full", 0), ("lora", 1), ("frozen_layers", 1)])
def test_adversarial_steps_want_trained_embeddings(method: str, faults: int) -> None:
    wanted = {"method": {"type": method}, "training": {"adversarial_epsilon": 0.5}}
    assert len(check(RunConfig.model_validate(wanted))) == faults
    assert check(RunConfig.model_validate({"method": {"type": method}})) == []
