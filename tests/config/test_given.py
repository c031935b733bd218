"""The sources of a configuration: lines of a YAML file, options as typed, Python values."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.config.given import from_options, from_python, from_yaml, layered
from feinschliff.errors import ConfigError


def _write(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_every_yaml_value_knows_its_line(tmp_path: Path) -> None:
    file = _write(tmp_path, "# a comment\ntraining:\n  epochs: 3\n\n  learning-rate: 3e-4\nmethod: lora\n")
    found, faults = from_yaml(file)
    assert not faults
    assert {given.path: (given.value, given.origin) for given in found} == {
        "training.epochs": ("3", f"{file}:3"),
        "training.learning_rate": ("3e-4", f"{file}:5"),
        "method": ("lora", f"{file}:6"),
    }


def test_yaml_scalars_stay_text_and_null_is_none(tmp_path: Path) -> None:
    found, _ = from_yaml(_write(tmp_path, "a: yes\nb: 007\nc: ~\nd: [x, 1]\ne:\n"))
    assert [given.value for given in found] == ["yes", "007", None, ["x", "1"], None]


def test_a_repeated_key_is_refused_with_both_lines(tmp_path: Path) -> None:
    _, faults = from_yaml(_write(tmp_path, "training:\n  epochs: 1\n  seed: 0\n  epochs: 2\n"))
    assert len(faults) == 1
    assert faults[0].where is not None
    assert faults[0].where.endswith(":4")
    assert "line 2" in str(faults[0].why)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [("training: [1, 2\nmethod: lora\n", ":2", "not valid YAML"), ("- 1\n- 2\n", ":1", "not a mapping")],
)
def test_what_is_not_a_mapping_is_refused_with_its_line(tmp_path: Path, text: str, line: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_yaml(_write(tmp_path, text))
    fault = caught.value.faults[0]
    assert words in fault.what
    assert str(fault.where).endswith(line)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        from_yaml(tmp_path / "none.yaml")
    binary = tmp_path / "run.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="not UTF-8"):
        from_yaml(binary)


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    assert from_yaml(_write(tmp_path, "# nothing yet\n")) == ([], [])


def test_options_with_space_equals_dashes_and_repetition() -> None:
    found, faults = from_options(
        ["--training.learning-rate", "3e-4", "--training.max_grad_norm=none", "--data.text", "a", "--data.text", "b"]
    )
    assert not faults
    assert {given.path: given.value for given in found} == {
        "training.learning_rate": ["3e-4"],
        "training.max_grad_norm": ["none"],
        "data.text": ["a", "b"],
    }
    assert {given.origin for given in found} == {"command line"}


def test_a_negative_number_is_a_value_and_a_following_option_is_not() -> None:
    found, _ = from_options(["--seed", "-1", "--training.epochs", "--method.type", "lora"])
    assert {given.path: given.value for given in found} == {
        "seed": ["-1"],
        "training.epochs": [],
        "method.type": ["lora"],
    }


def test_python_values_nested_and_dotted_are_the_same() -> None:
    nested = from_python({"training": {"epochs": 3}}, "Python")
    dotted = from_python({"training.epochs": 3}, "Python")
    assert nested == dotted


def test_the_later_layer_wins() -> None:
    lower = from_python({"seed": 1, "output_dir": "a"}, "lower")
    upper = from_python({"seed": 2}, "upper")
    merged = layered([lower, upper])
    assert (merged["seed"].value, merged["seed"].origin) == (2, "upper")
    assert merged["output_dir"].origin == "lower"
