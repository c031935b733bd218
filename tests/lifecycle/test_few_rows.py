"""With few rows all are trained on by one recipe; without validation rows nothing is chosen by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.load import load_run_config
from feinschliff.config.rules import check
from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.lifecycle import few_rows, train, tune
from feinschliff.lifecycle.few_rows import are_few, joined, recipe
from feinschliff.lifecycle.recipes import configured, origins_of
from feinschliff.results.training import TrainingResult
from tests.lifecycle.test_tune import run_tune, write_rows
from tests.numerics.tiny_runs import examples, made_splits


@pytest.mark.parametrize(
    ("train_rows", "task", "given", "few"),
    [
        (40, "text_classification", set(), True),
        (few_rows.FEW - 24, "text_classification", set(), False),
        (few_rows.FEW - 25, "text_classification", {"training.learning_rate"}, True),
        (40, "image_classification", set(), False),
        (40, "text_classification", {"method.type"}, False),
        (40, "text_classification", {"data.validation"}, False),
        (40, "text_classification", {"data.validation_fraction"}, False),
        (40, "text_classification", {"training.regularisation.mixup"}, False),
        (40, "text_classification", {"training.keep_weights"}, False),
    ],
)
def test_when_rows_are_few(train_rows: int, task: str, given: set[str], few: bool) -> None:
    config = RunConfig.model_validate({"task": {"type": task}})
    assert are_few(config, made_splits(train_rows, 24), given) is few


def test_all_rows_are_trained_on_in_the_order_of_the_file() -> None:
    splits = made_splits(40, 10)
    found = joined(splits)
    assert len(found.train) == 50
    assert found.validation == []
    places = [(row.place.file, row.place.line) for row in found.train]
    assert places == sorted(places)


def test_what_the_person_asked_for_stands() -> None:
    given = {"training.learning_rate"}
    config = RunConfig.model_validate({"training": {"learning_rate": 1e-3}})
    made = configured(config, recipe(), given, "run")
    assert (made.training.learning_rate, made.model.head_init) == (1e-3, "linear_probe")
    assert made.training.regularisation.pair_contrast == 1.0
    _, origins = load_run_config(None, {})
    said = {origin.field: origin.origin for origin in origins_of(origins, recipe(), made, given)}
    assert "few rows" in said["model.head_init"]


def test_the_recipe_breaks_no_rule() -> None:
    assert check(configured(RunConfig(), recipe(), set(), "run")) == []


def test_from_a_file_of_few_rows_to_a_verdict(tiny_bert: Path, tmp_path: Path) -> None:
    result = run_tune(tiny_bert, tmp_path, {"train": examples(60, 1), "test": examples(40, 2)})
    assert (result.recipe, result.rows.validation, result.rows.train) == ("few rows", 0, 60)
    assert result.details.trials == []
    assert result.details.training.best_metric is None
    assert all(point.validation_loss is None for point in result.details.training.curve)
    assert any("too few to spare any" in said for said in result.details.announcements)
    assert any("not calibrated" in said for said in result.details.announcements)
    assert "no rows were spared; the last weights are kept" in Path(result.report).read_text(encoding="utf-8")
    assert "too few to spare any" in Path(result.report).read_text(encoding="utf-8")


def run_train(folder: Path, tmp_path: Path, **training: Any) -> TrainingResult:
    write_rows(tmp_path / "rows.csv", examples(60, 1))
    values = {
        "data": {"train": [str(tmp_path / "rows.csv")], "validation_fraction": 0.0},
        "model": {"source": str(folder)},
        "training": {"precision": "fp32", "num_threads": 1, "epochs": 2.0, **training},
        "output_dir": str(tmp_path / "run"),
    }
    return train.train(*load_run_config(None, values))


def test_training_without_validation_rows_keeps_the_last_weights(tiny_bert: Path, tmp_path: Path) -> None:
    result = run_train(tiny_bert, tmp_path, keep_weights="last")
    assert (result.rows, result.best_metric, result.best_step) == (48, None, result.steps)
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert result.diagnosis is None


def test_without_validation_rows_there_are_no_best_weights(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to choose the best weights by"):
        run_train(tiny_bert, tmp_path)


def test_several_recipes_need_rows_to_choose_by(tiny_bert: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", examples(60, 1))
    values = {
        "data": {"train": [str(tmp_path / "rows.csv")], "validation_fraction": 0.0},
        "model": {"source": str(tiny_bert)},
        "training": {"precision": "fp32", "num_threads": 1, "keep_weights": "last"},
        "output_dir": str(tmp_path / "run"),
    }
    with pytest.raises(ConfigError, match="no validation rows to choose a recipe by"):
        tune.tune(*load_run_config(None, values), budget_seconds=60.0)
