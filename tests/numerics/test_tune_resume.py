"""A tune run that was killed goes on with what it had decided and done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.load import load_run_config, read_resolved
from feinschliff.errors import DivergedError
from feinschliff.lifecycle import trials, tune
from feinschliff.results.comparison import TuneResult
from tests.numerics.tiny_runs import examples


def killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def run_tune(folder: Path, tmp_path: Path, num_rows: int = 120, search: bool = False) -> TuneResult:
    rows = [f"{row.texts[0]} n{number},{row.labels[0]}" for number, row in enumerate(examples(num_rows, 3))]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    values: dict[str, Any] = {
        "data": {"train": [str(tmp_path / "rows.csv")]},
        "model": {"source": str(folder)},
        "method": {"type": "frozen_layers", "trained_layers": 1},
        "training": {"precision": "fp32", "num_threads": 1},
        "output_dir": str(tmp_path / "run"),
    }
    if search:
        del values["method"]
        values["data"]["validation_fraction"] = 0.1  # asked for: rows are spared, however few there are
    return tune.tune(*load_run_config(None, values), budget_seconds=30.0)


def status(tmp_path: Path) -> str:
    return str(json.loads((tmp_path / "run" / "run.json").read_text())["status"])


def test_killed_before_the_verdict_trains_no_second_time(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tune, "Predictor", killed)
        with pytest.raises(KeyboardInterrupt):
            run_tune(tiny_bert, tmp_path)
    assert status(tmp_path) == "interrupted"
    weights = json.loads((tmp_path / "run" / "training.json").read_text())["weights_sha256"]
    with monkeypatch.context() as patch:
        patch.setattr(trials, "run", killed)
        result = run_tune(tiny_bert, tmp_path)
    assert result.details.training is not None
    assert result.details.training.weights_sha256 == weights
    assert run_tune(tiny_bert, tmp_path) == result
    assert status(tmp_path) == "finished"


def test_killed_in_training_keeps_its_epochs_on_a_slower_machine(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trials, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            run_tune(tiny_bert, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(tune, "Search", lambda *given: replace(trials.Search(*given), seconds_per_forward=10.0))
        result = run_tune(tiny_bert, tmp_path)
    assert result.details.training is not None
    assert result.details.training.epochs == 4.0


def test_other_rows_are_decided_anew(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tune, "Predictor", killed)
        with pytest.raises(KeyboardInterrupt):
            run_tune(tiny_bert, tmp_path)
    first = json.loads((tmp_path / "run" / "training.json").read_text())
    result = run_tune(tiny_bert, tmp_path, num_rows=150)
    assert result.details.training is not None
    assert result.details.training.rows > first["rows"]


def test_the_configuration_left_behind_is_the_one_that_was_run(tiny_bert: Path, tmp_path: Path) -> None:
    result = run_tune(tiny_bert, tmp_path, search=True)
    training = result.details.training
    assert training is not None
    left, origins = read_resolved(tmp_path / "run")
    assert left.method.type == training.method
    assert left.training.epochs >= training.epochs
    assert left.training.learning_rate == training.learning_rate
    assert left.training.precision == training.precision
    by_field = {origin.field: origin for origin in origins}
    assert result.recipe in by_field["training.learning_rate"].origin
    assert result.recipe in by_field["method.type"].origin
    assert run_tune(tiny_bert, tmp_path, search=True) == result  # known again by what was asked, and not run again


def test_the_forecast_is_not_the_budget_where_less_is_needed(tiny_bert: Path, tmp_path: Path) -> None:
    details = run_tune(tiny_bert, tmp_path).details
    assert 0.0 < details.forecast_seconds < 30.0
    assert any("from start to verdict" in said for said in details.announcements)


def test_a_recipe_that_diverges_is_out_and_the_others_go_on(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = trials.run

    def sometimes(config: Any, *rest: Any) -> Any:
        if config.method.type == "lora":
            raise DivergedError("the loss is nan at step 3")
        return honest(config, *rest)

    monkeypatch.setattr(trials, "run", sometimes)
    result = run_tune(tiny_bert, tmp_path, search=True)
    by_name = {trial.recipe: trial for trial in result.details.trials}
    assert by_name["lora"].validation_metric is None
    assert "nan" in by_name["lora"].note
    assert sum(trial.chosen for trial in result.details.trials) == 1


def test_where_every_recipe_diverges_that_is_said(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise DivergedError("the loss is nan at step 3")

    monkeypatch.setattr(trials, "run", never)
    with pytest.raises(DivergedError, match="every recipe diverged"):
        run_tune(tiny_bert, tmp_path, search=True)
    assert status(tmp_path) == "failed"
