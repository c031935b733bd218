"""The verbs' command lines: what was typed reaches the verb as a configuration, and what it returns is printed."""

from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from feinschliff.cli.main import main
from feinschliff.cli.run_options import budget_seconds, run_name, split_options
from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.results.prediction import ExportResult, PredictionResult
from feinschliff.results.training import TrainingResult
from tests.reports.sample_results import tune_result

TRAINED = TrainingResult(
    method="lora",
    steps=10,
    epochs=3.0,
    rows=80,
    tokens=800,
    seconds=1.5,
    rows_per_second=160.0,
    trained_parameters=5,
    all_parameters=50,
    precision="fp32",
    metric="accuracy",
    best_metric=0.9,
    best_step=8,
    stopped_early=False,
)
ANSWER = PredictionResult(
    text="where is my parcel?",
    labels=["delivery"],
    score=0.9,
    scores={"delivery": 0.9, "refund": 0.1},
    file="input",
    line=1,
)


class Verb:
    """Stands in for a verb: keeps what it was called with, gives back a result."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        print("a stray line")
        return self.result

    @property
    def config(self) -> RunConfig:
        config: RunConfig = self.calls[-1][0][0]
        return config

    def origin(self, field: str) -> str:
        return str(next(origin.origin for origin in self.calls[-1][0][1] if origin.field == field))


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a stand-in in the place of a verb of the library."""

    def put(name: str, result: Any) -> Verb:
        stand_in = Verb(result)
        module: Any = types.ModuleType(f"feinschliff.lifecycle.{name}")
        setattr(module, name, stand_in)
        monkeypatch.setitem(sys.modules, f"feinschliff.lifecycle.{name}", module)
        return stand_in

    return put


def test_tune_as_people_type_it(verb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tune = verb("tune", tune_result())
    line = "tune tickets.csv --target label --test t.csv --validation v.csv --model folder --output-dir runs/x"
    code = main([*line.split(), "--budget", "10m", "--seed", "3", "--training.epochs", "2", "--json"])
    config = tune.config
    assert code == (0 if tune.result.verdict == "ship" else 1)
    assert (config.data.train, config.data.target, config.data.test) == (("tickets.csv",), "label", ("t.csv",))
    assert (config.data.validation, config.model.source, config.output_dir) == (("v.csv",), "folder", "runs/x")
    assert (config.seed, config.training.epochs) == (3, 2.0)
    assert tune.calls[-1][1]["budget_seconds"] == 600
    assert tune.origin("data.target") == "command line"
    shown = capsys.readouterr()
    assert json.loads(shown.out) == tune.result.model_dump(mode="json")
    assert "a stray line" in shown.err


@pytest.mark.parametrize(("name", "result"), [("tune", tune_result()), ("train", TRAINED)])
def test_personal_data_is_replaced_by_a_flag(
    verb: Any, name: str, result: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = verb(name, result)
    main([name, "--redact", "a.csv", "--seed", "3"])
    assert (work.config.data.redact, work.origin("data.redact")) == (True, "command line")
    assert (work.config.data.train, work.config.seed) == (("a.csv",), 3)
    main([name, "a.csv"])
    assert (work.config.data.redact, work.origin("data.redact")) == (False, "default")
    (tmp_path / "run.yaml").write_text("data:\n  redact: true\nseed: 3\n")
    main([name, "a.csv", "--config", str(tmp_path / "run.yaml"), "--seed", "0"])
    assert (work.config.data.redact, work.config.seed) == (True, 0)
    capsys.readouterr()
    assert main([name, "a.csv", "--redact", "--data.redact", "false"]) == 2
    assert "data.redact is given twice" in capsys.readouterr().err
    assert main([name, "--help"]) == 0
    assert "Personal data in rows becomes [EMAIL]" in " ".join(capsys.readouterr().out.split())


def test_the_output_dir_is_named_after_the_data(verb: Any) -> None:
    tune = verb("tune", tune_result())
    main(["tune", "data/tickets.csv.gz"])
    assert tune.config.output_dir == "runs/tickets"
    assert tune.origin("output_dir") == "name of the data"


@pytest.mark.parametrize(("verdict", "code"), [("ship", 0), ("keep-baseline", 1), ("undecided", 1)])
def test_the_exit_code_of_tune_is_its_verdict(
    verb: Any, capsys: pytest.CaptureFixture[str], verdict: str, code: int
) -> None:
    result = tune_result().model_copy(update={"verdict": verdict})
    verb("tune", result)
    assert main(["tune", "a.csv"]) == code
    shown = capsys.readouterr().out
    assert result.report in shown
    assert len(shown.splitlines()) <= 24, "the summary fits one screen"


def test_train_as_people_type_it(verb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    train = verb("train", TRAINED)
    fields = "--training.epochs 3 --training.checkpoint-every-steps 50 --method.type lora"
    assert main(["train", "tickets.csv", "--output-dir", "runs/a", *fields.split()]) == 0
    config = train.config
    assert (config.data.train, config.output_dir, config.method.type) == (("tickets.csv",), "runs/a", "lora")
    assert (config.training.epochs, config.training.checkpoint_every_steps) == (3.0, 50)
    assert ", validation accuracy 90.0%" in capsys.readouterr().out


def test_train_from_a_file(verb: Any, tmp_path: Path) -> None:
    train = verb("train", TRAINED)
    file = tmp_path / "run.yaml"
    file.write_text("data:\n  train: [a.csv, b.csv]\noutput_dir: runs/b\n", encoding="utf-8")
    assert main(["train", "--config", str(file)]) == 0
    assert (train.config.data.train, train.config.output_dir) == (("a.csv", "b.csv"), "runs/b")
    assert train.origin("output_dir") == f"{file}:3"


def test_no_data_is_wrong_usage(verb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    train = verb("train", TRAINED)
    assert main(["train"]) == 2
    assert "no data to train on" in capsys.readouterr().err
    assert not train.calls


def test_all_wrong_options_at_once(verb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    train = verb("train", TRAINED)
    wrong = ["--epochs", "3", "--training.epochs", "0", "--trainng.x", "1", "--method.type", "lorra"]
    assert main(["train", "a.csv", *wrong, "--json"]) == 2
    faults = json.loads(capsys.readouterr().out)["error"]["faults"]
    assert len(faults) == 4
    assert not train.calls


def test_evaluate(verb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = tune_result().details.evaluation
    evaluate = verb("evaluate", result)
    assert main(["evaluate", "runs/a", "held_out.csv"]) == 0
    assert evaluate.calls[-1][0] == (Path("runs/a"), ["held_out.csv"])
    assert result.metric in capsys.readouterr().out


def test_predict_texts_files_and_standard_input(
    verb: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = verb("predict", [ANSWER])
    assert main(["predict", "runs/a", "where is my parcel?"]) == 0
    assert "delivery   [delivery 0.900, refund 0.100]" in capsys.readouterr().out
    assert predict.calls[-1][0] == (Path("runs/a"), ["where is my parcel?"], ())
    assert main(["predict", "runs/a", "--file", "x.csv"]) == 0
    assert predict.calls[-1][0] == (Path("runs/a"), None, ["x.csv"])
    monkeypatch.setattr("sys.stdin", io.StringIO("one\n\ntwo\n"))
    assert main(["predict", "runs/a", "-"]) == 0
    assert predict.calls[-1][0] == (Path("runs/a"), ["one", "two"], ())
    capsys.readouterr()
    assert main(["predict", "runs/a", "x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [ANSWER.model_dump(mode="json")]
    assert main(["predict", "runs/a"]) == 2
    assert main(["predict", "runs/a", "x", "--file", "y.csv"]) == 2


def test_export(verb: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = ExportResult(folder="folder", files=["a"], size_bytes=2_000_000, largest_difference=1e-7, probe_rows=32)
    export = verb("export", result)
    assert main(["export", "runs/a", "--output-dir", "folder"]) == 0
    assert "differ by at most 1.0e-07" in capsys.readouterr().out
    assert export.calls[-1][0] == (Path("runs/a"), Path("folder"))


def test_config_check_prints_every_value_with_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--training.epochs", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "training.epochs = 2.0   (command line)" in shown
    assert "seed = 0   (default)" in shown
    assert main(["config", "fields", "--json"]) == 0
    assert "training" in json.loads(capsys.readouterr().out)["properties"]


def test_train_help_lists_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("--training.checkpoint-every-steps", "--method.rank", "--data.near-duplicate-similarity"):
        assert option in shown


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("45", 45), ("1h 30m", None)]
)
def test_budget(text: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(ConfigError, match="is not a time"):
            budget_seconds(text)
    else:
        assert budget_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "10x", "-5m", "m"])
def test_budget_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a time"):
        budget_seconds(text)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data/tickets.csv", "tickets"),
        ("a/b.jsonl.zst", "b"),
        ("hf:owner/set", "set"),
        ("pypi:x==1/data/sample.csv", "sample"),
        ("folder/", "folder"),
        ("..", "run"),
    ],
)
def test_run_name(source: str, name: str) -> None:
    assert run_name(source) == name


def test_options_are_split_from_what_the_verb_knows() -> None:
    dotted, rest = split_options(["a.csv", "--seed", "3", "--x.y", "1", "--z=2", "--", "--x.y"], {"--seed"})
    assert dotted == ["--x.y", "1", "--z=2"]
    assert rest == ["a.csv", "--seed", "3", "--", "--x.y"]
