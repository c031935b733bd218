"""A run's configuration from all its sources: values, origins, and every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.config import fields
from feinschliff.config.load import load_run_config, read_resolved, write_resolved
from feinschliff.errors import ConfigError, Fault
from feinschliff.results.comparison import Origin
from feinschliff.store.run_directory import RunDirectory


def _origin(origins: list[Origin], field: str) -> str:
    return next(origin.origin for origin in origins if origin.field == field)


def _faults(*options: str, yaml: Path | None = None) -> tuple[Fault, ...]:
    with pytest.raises(ConfigError) as caught:
        load_run_config(yaml, options)
    return caught.value.faults


def test_nothing_given_is_the_defaults() -> None:
    config, origins = load_run_config()
    assert config.method.type == "full"
    assert config.task.type == "text_classification"
    assert {origin.origin for origin in origins} == {"default"}


def test_every_field_of_the_configuration_has_exactly_one_origin() -> None:
    config, origins = load_run_config(None, ["--method.type", "lora"])
    leaves = {path for name, value in config.model_dump().items() for path in fields.leaves(name, value)}
    assert sorted(leaves) == sorted(origin.field for origin in origins)
    assert "training.regularisation.l2_sp" in leaves


def test_a_part_within_a_part_is_set_from_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    text = "training:\n  epochs: 2\n  regularisation:\n    r_drop: 0.5\n    l2-sp: 0.2\nmodel:\n  dropout: 0.1\n"
    file.write_text(text, encoding="utf-8")
    config, origins = load_run_config(
        file, ["--training.regularisation.l2-sp", "0.01", "--training.regularisation.early-stopping-metric=loss"]
    )
    found = config.training.regularisation
    assert (found.l2_sp, found.r_drop, found.early_stopping_metric, found.mixup) == (0.01, 0.5, "loss", 0.0)
    assert _origin(origins, "training.regularisation.l2_sp") == "command line"
    assert _origin(origins, "training.regularisation.r_drop") == f"{file}:4"
    assert _origin(origins, "training.regularisation.mixup") == "default"
    nested = load_run_config(
        None, {"training": {"regularisation": {"l2_sp": 0.01}, "balance": {"sampling": "balanced"}}}
    )
    assert nested[0].training.regularisation.l2_sp == 0.01
    assert nested[0].training.balance.sampling == "balanced"


def test_faults_within_an_inner_part_name_it(tmp_path: Path) -> None:
    place = "--training.regularisation.l2-sp"
    assert [(fault.what, fault.where) for fault in _faults(place, "-1")] == [
        ("training.regularisation.l2_sp = -1 is out of range", place)
    ]
    (unknown,) = _faults("--training.l2-sp", "1")
    assert unknown.remedy == f"did you mean {place}?"
    (part,) = _faults("--training.regularisation", "1")
    assert "is a part with fields of its own" in part.what
    (choice,) = _faults("--training.balance.class-weights", "sqr")
    assert choice.remedy == "did you mean sqrt?"
    file = tmp_path / "run.yaml"
    file.write_text("training:\n  regularisation:\n    mixup: often\n", encoding="utf-8")
    (word,) = _faults(yaml=file)
    assert (word.what, word.where) == ("training.regularisation.mixup = often is not a number", f"{file}:3")


def test_what_was_resolved_with_an_inner_part_is_read_back(tmp_path: Path) -> None:
    config, origins = load_run_config(None, ["--training.regularisation.soup", "3"])
    write_resolved(RunDirectory(tmp_path), config, origins)
    again, kept = read_resolved(tmp_path)
    assert again == config
    assert _origin(kept, "training.regularisation.soup") == "command line"


def test_layers_file_given_options(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training:\n  epochs: 2\n  learning_rate: 1e-4\n  weight_decay: 0.1\nseed: 5\n", encoding="utf-8")
    config, origins = load_run_config(
        file,
        ["--training.learning-rate", "3e-4"],
        given={"seed": (7, "command line")},
        base={"output_dir": ("runs/tickets", "name of the data"), "training.weight_decay": (0.5, "found")},
    )
    assert config.training.epochs == 2
    assert _origin(origins, "training.epochs") == f"{file}:2"
    assert config.training.learning_rate == 3e-4
    assert _origin(origins, "training.learning_rate") == "command line"
    assert config.seed == 7
    assert config.training.weight_decay == 0.1
    assert config.output_dir == "runs/tickets"
    assert _origin(origins, "output_dir") == "name of the data"


def test_values_are_read_by_the_fields_type() -> None:
    config, _ = load_run_config(
        None,
        [
            *("--training.max-grad-norm", "none", "--training.max-steps=12", "--data.header", "yes"),
            *("--data.text", "question,context", "--data.test", "a.csv", "--data.test", "b.csv", "--data.target", "5"),
        ],
    )
    assert config.training.max_grad_norm is None
    assert config.training.max_steps == 12
    assert config.data.header == "yes"
    assert config.data.text == ("question", "context")
    assert config.data.test == ("a.csv", "b.csv")
    assert config.data.target == "5"


def test_yaml_words_that_look_like_booleans_and_one_value_for_a_list(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("data:\n  header: no\n  train: a,b.csv\n  target: 7\n", encoding="utf-8")
    config, _ = load_run_config(file)
    assert config.data.header == "no"
    assert config.data.train == ("a,b.csv",)
    assert config.data.target == "7"


def test_python_values() -> None:
    config, origins = load_run_config(None, {"training": {"epochs": 1}, "method": "lora", "data.text": "body"})
    assert config.training.epochs == 1
    assert config.method.type == "lora"
    assert config.data.text == ("body",)
    assert _origin(origins, "training.epochs") == "Python"


@pytest.mark.parametrize("options", [["--method.type", "lora"], ["--method", "lora"], ["--method=lora"]])
def test_an_open_union_is_chosen_by_type_or_by_name_alone(options: list[str]) -> None:
    config, origins = load_run_config(None, [*options, "--method.rank", "4"])
    assert config.method.model_dump()["rank"] == 4
    assert _origin(origins, "method.type") == "command line"


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--training.epoch", "--training.epochs"),
        ("--trainig.epochs", "--training.epochs"),
        ("--epochs", "--training.epochs"),
        ("--learning-rate", "--training.learning-rate"),
        ("--taget", "--data.target"),
        ("--modle.source", "--model.source"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(option: str, meant: str) -> None:
    (fault,) = _faults(option, "x")
    assert option in fault.what
    assert fault.remedy == f"did you mean {meant}?"


def test_unknown_members_of_unions_name_the_nearest() -> None:
    (fault,) = _faults("--method.type", "lorra", "--method.rank", "4")
    assert "lorra" in fault.what
    assert "did you mean 'lora'" in str(fault.remedy)


def test_a_field_of_another_member_is_unknown() -> None:
    (fault,) = _faults("--method.type", "full", "--method.rank", "4")
    assert "--method.rank" in fault.what


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--training.epochs", "0", "greater than 0"),
        ("--training.label-smoothing", "1", "less than 1"),
        ("--training.max-steps", "0", "at least 1"),
        ("--seed", "-1", "at least 0"),
        ("--training.schedule", "liner", "'auto', 'linear', 'cosine' or 'constant'"),
    ],
)
def test_out_of_range_says_the_value_and_the_limit(option: str, value: str, words: str) -> None:
    (fault,) = _faults(option, value)
    assert value in fault.what
    assert fault.where == option
    assert words in str(fault.why)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--training.epochs", "many", "a number"),
        ("--training.epochs", "nan", "a finite number"),
        ("--training.global-batch-rows", "3.5", "a whole number"),
        ("--seed", "true", "a whole number"),
    ],
)
def test_wrong_types(option: str, value: str, words: str) -> None:
    (fault,) = _faults(option, value)
    assert f"is not {words}" in fault.what


def test_options_given_twice_or_without_value_or_into_a_value() -> None:
    assert "2 times" in _faults("--seed", "1", "--seed", "2")[0].what
    assert "needs a value" in _faults("--training.epochs")[0].what
    assert "no 'x'" in _faults("--seed.x", "1")[0].what
    assert "a part with fields" in _faults("--training", "1")[0].what
    with pytest.raises(ConfigError, match="given twice"):
        load_run_config(None, ["--seed", "1"], given={"seed": (2, "command line")})


def test_all_faults_at_once_each_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "training:\n  epochs: -1\n  epoch: 3\n  schedule: liner\n  schedule: cosine\nevaluation:\n  confidence: [1]\n",
        encoding="utf-8",
    )
    places = {fault.where for fault in _faults("--method.rnk", "3", "--seed", "x", "--method=lora", yaml=file)}
    assert places == {*(f"{file}:{line}" for line in (2, 3, 4, 5, 7)), "command line", "--seed"}


def test_rules_across_parts_point_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("data:\n  validation_fraction: 0.5\n  test_fraction: 0.5\n", encoding="utf-8")
    (fault,) = _faults(yaml=file)
    assert fault.where == f"{file}:3"
    assert "nothing to train on" in fault.what


def test_the_resolved_configuration_comes_back_with_its_origins(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    config, origins = load_run_config(
        None,
        ["--method=lora", "--training.max-grad-norm", "none"],
        given={"data.train": (("ä,b.csv",), "command line")},
    )
    write_resolved(run, config, origins)
    again, origins_again = read_resolved(run.path)
    assert again == config
    assert origins_again == origins
    assert read_resolved(run.config)[0] == config


def test_an_override_of_a_resolved_configuration_has_its_own_origin(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    write_resolved(run, *load_run_config(None, ["--seed", "3"]))
    config, origins = load_run_config(run.config, ["--training.epochs", "1"])
    assert (config.seed, config.training.epochs) == (3, 1.0)
    assert _origin(origins, "training.epochs") == "command line"
    assert _origin(origins, "training.weight_decay") == "default"


def test_no_resolved_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no resolved configuration"):
        read_resolved(tmp_path)
