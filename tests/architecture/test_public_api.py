"""The public list of the package: what is promised is there, and nothing else is."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import feinschliff

PUBLIC = ["FeinschliffError", "RunConfig", "configure", "evaluate", "export", "predict", "train", "tune"]


def test_the_list() -> None:
    assert sorted(feinschliff.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there_with_a_docstring(name: str) -> None:
    member: Any = getattr(feinschliff, name)
    assert inspect.getdoc(member)
    assert member.__name__ == name


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'polish'"):
        _ = feinschliff.polish


def test_python_and_command_line_make_the_same_configuration() -> None:
    from feinschliff.config.load import load_run_config

    python, _ = feinschliff.configure("a.csv", target="label", method="lora", training={"epochs": 3}, seed=4)
    options = ["--data.train=a.csv", "--data.target=label", "--method=lora", "--training.epochs=3", "--seed=4"]
    assert python == load_run_config(None, options)[0]


def test_python_says_all_faults_at_once() -> None:
    with pytest.raises(feinschliff.FeinschliffError) as caught:
        feinschliff.configure("a.csv", traget="label", training={"epochs": 0})
    assert len(caught.value.faults) == 2
    with pytest.raises(feinschliff.FeinschliffError, match="no data to train on"):
        feinschliff.configure()
