"""The main job on a tiny model: kinds of rows, trials on few rows, and test rows that nothing is chosen by."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feinschliff.cli.main import main
from feinschliff.config.load import load_run_config
from feinschliff.data.examples import Example
from feinschliff.lifecycle import trials, tune
from feinschliff.results.comparison import TuneResult
from tests.numerics.tiny_runs import examples

pytestmark = pytest.mark.slow


def write_rows(file: Path, rows: list[Example]) -> None:
    """A csv with a number in each text, so that no two rows are alike."""
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*(["text", "other"][: len(rows[0].texts)]), "label"])
        for number, row in enumerate(rows):
            writer.writerow([f"{row.texts[0]} n{number}", *row.texts[1:], "|".join(row.labels)])


def run_tune(folder: Path, tmp_path: Path, files: dict[str, list[Example]], **data: Any) -> TuneResult:
    for name, rows in files.items():
        write_rows(tmp_path / f"{name}.csv", rows)
    values = {
        "data": {**{name: [str(tmp_path / f"{name}.csv")] for name in files}, **data},
        "model": {"source": str(folder)},
        "training": {"precision": "fp32", "num_threads": 1, "epochs": 1.0},
        "output_dir": str(tmp_path / "run"),
    }
    return tune.tune(*load_run_config(None, values), budget_seconds=60.0)


@pytest.mark.parametrize(("kind", "metric"), [("pair", "accuracy"), ("multi", "micro_f1")])
def test_pairs_and_several_labels(tiny_bert: Path, tmp_path: Path, kind: str, metric: str) -> None:
    data: dict[str, Any] = {"label_separator": "|"} if kind == "multi" else {"text": ["text", "other"]}
    result = run_tune(tiny_bert, tmp_path, {"train": examples(150, 1, kind)}, **data)
    assert result.metric == metric
    assert set(result.baselines) == {"majority class", "linear probe"}
    assert len(result.details.columns.text) == (2 if kind == "pair" else 1)
    assert 0.0 <= result.test[metric].low <= result.test[metric].value <= result.test[metric].high <= 1.0


def test_test_rows_change_nothing_but_the_verdict(tiny_bert: Path, tmp_path: Path) -> None:
    chosen = []
    for seed in (5, 6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows = {"train": examples(90, 1), "validation": examples(30, 2), "test": examples(30, seed)}
        training = run_tune(tiny_bert, folder, rows, held_out_duplicates="keep").details
        assert training.training is not None
        chosen.append((training.training.weights_sha256, [t.validation_metric for t in training.trials]))
    assert chosen[0] == chosen[1]


def test_where_the_budget_is_short_recipes_are_compared_on_a_sample(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At 0.02 s a forward pass all four recipes in full would take twice the budget.
    monkeypatch.setattr(tune, "Search", lambda *given: replace(trials.Search(*given), seconds_per_forward=0.02))
    result = run_tune(tiny_bert, tmp_path, {"train": examples(600, 1)})
    notes = {trial.recipe: trial.note for trial in result.details.trials if trial.recipe != "linear probe"}
    assert len(notes) == 4
    sample = {note.split()[0] for note in notes.values()}
    assert len(sample) == 1
    assert sample == {"256"}
    assert result.rows.train > 256
    assert result.details.training is not None
    assert result.details.training.rows == result.rows.train
    assert sum(point.validation_metric is not None for point in result.details.training.curve) >= 3


def test_json_holds_what_is_promised(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "tickets.csv", examples(120, 1))
    line = f"tune {tmp_path}/tickets.csv --model {tiny_bert} --output-dir {tmp_path}/run --training.epochs 1 --json"
    code = main([*line.split(), "--method.type", "frozen_layers", "--training.precision", "fp32"])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found["verdict"] == "ship" else 1)
    assert found["verdict"] in ("ship", "keep-baseline", "undecided")
    named = "verdict metric test baselines difference rows recipe seconds run report model"
    assert set(named.split()) <= found.keys()
    for measures in (found["test"], *found["baselines"].values()):
        assert set(measures[found["metric"]]) == {"value", "low", "high"}
    assert set(found["difference"]) == {"value", "low", "high", "p"}
    assert set(found["rows"]) == {"train", "validation", "test", "dropped"}
    assert Path(found["report"]).exists()
    assert Path(found["model"], "model.safetensors").exists()
