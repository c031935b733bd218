"""Rules across the parts of a configuration: each holds where it should and speaks where it should."""

from __future__ import annotations

from typing import Any

import pytest

from feinschliff.config import rules
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


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"method": "lora", "training": {"regularisation": {"l2_sp": 0.1}}}, "no weights to hold near their start"),
        ({"training": {"regularisation": {"r_drop": 1.0}}}, "needs dropout"),
        (
            {"model": {"dropout": 0.1}, "training": {"regularisation": {"r_drop": 1.0, "mixup": 0.2}}},
            "are both given",
        ),
        (
            {"training": {"regularisation": {"mixup": 0.2, "pair_contrast": 1.0}}},
            "are both given",
        ),
        ({"training": {"keep_weights": "last", "regularisation": {"soup": 3}}}, "soup has no effect"),
        (
            {"training": {"keep_weights": "last", "regularisation": {"early_stopping_metric": "loss"}}},
            "early_stopping_metric has no effect",
        ),
        (
            {"training": {"early_stopping_patience": None, "regularisation": {"early_stopping_metric": "loss"}}},
            "early_stopping_metric has no effect",
        ),
    ],
)
def test_options_that_cannot_do_anything_are_refused(wanted: dict[str, Any], words: str) -> None:
    (fault,) = check(RunConfig.model_validate(wanted))
    assert words in fault.what
    assert fault.remedy


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regularisation": {"r_drop": 1.0}}, "does not offer R-Drop"),
        ({"regularisation": {"mixup": 0.3}}, "does not offer mixup"),
        ({"regularisation": {"pair_contrast": 1.0}}, "does not offer training.regularisation.pair_contrast"),
        ({"balance": {"class_weights": "sqrt"}}, "does not offer training.balance.class_weights"),
        ({"balance": {"sampling": "balanced"}}, "does not offer training.balance.sampling"),
    ],
)
def test_a_task_offers_what_it_says_it_offers(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: str
) -> None:
    wanted = RunConfig.model_validate({"model": {"dropout": 0.1}, "training": options})
    assert check(wanted) == []
    monkeypatch.setattr(rules.registry, "says", lambda kind, name, fact: kind == "method")
    (fault,) = check(wanted)
    assert words in fault.what


@pytest.mark.parametrize(
    "wanted",
    [
        {"method": {"type": "lora", "dropout": 0.1}, "training": {"regularisation": {"r_drop": 1.0}}},
        {"method": "lora", "training": {"regularisation": {"l2_sp_head": 0.1}}},
        {"method": "frozen_layers", "training": {"regularisation": {"l2_sp": 0.1, "soup": 3}}},
    ],
)
def test_options_that_make_sense_pass(wanted: dict[str, Any]) -> None:
    assert check(RunConfig.model_validate(wanted)) == []


@pytest.mark.parametrize("task", ["image_classification", "tabular_classification", "sequence_to_sequence"])
def test_adversarial_steps_want_a_task_that_reads_tokens_and_writes_none(task: str) -> None:
    wanted = {"task": {"type": task}, "method": {"type": "full"}, "training": {"adversarial_epsilon": 0.5}}
    (fault,) = rules.check(RunConfig.model_validate(wanted))
    assert fault.where == "training.adversarial_epsilon"
    assert task in fault.what


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("model", "dropout", 0.1),
        ("model", "pooling", "mean"),
        ("model", "head_init", "random"),
        ("training", "head_learning_rate_multiplier", 5.0),
    ],
)
def test_a_language_model_has_no_head_and_nothing_pooled(part: str, field: str, value: Any) -> None:
    assert check(RunConfig.model_validate({"task": "sft"})) == []
    (fault,) = check(RunConfig.model_validate({"task": "sft", part: {field: value}}))
    assert fault.what == f"task sft does not offer {part}.{field}"
