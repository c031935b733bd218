"""What is said of figures holds for them: the coverage of intervals, rows that were cut, labels of a cell."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.load import load_run_config
from feinschliff.data.examples import Example, Place
from feinschliff.lifecycle.evaluate import columns_of
from feinschliff.lifecycle.tune import tune
from feinschliff.reports.terminal import print_tune_summary
from feinschliff.results.data import ColumnsFound
from feinschliff.tasks._classified import Classified, judge
from tests.numerics.tiny_runs import examples


def test_the_result_says_the_coverage_of_its_intervals() -> None:
    rows = [Example(("text",), ("ab"[n % 2],), Place("rows.csv", n + 2)) for n in range(40)]
    scores = np.tile(np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.6, 0.4]], dtype=np.float32), (10, 1))
    wide, narrow = (
        judge(
            Classified(scores, scores.argmax(1)), rows, ["a", "b"], "accuracy", EvaluationConfig(confidence=confidence)
        )
        for confidence in (0.95, 0.8)
    )
    assert (wide.confidence, narrow.confidence) == (0.95, 0.8)
    assert narrow.metrics["accuracy"].high < wide.metrics["accuracy"].high


def test_a_tune_run_says_its_coverage_and_what_it_cut(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [f"{row.texts[0]} n{number},{row.labels[0]}" for number, row in enumerate(examples(120, 3))]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    values = {
        "data": {"train": [str(tmp_path / "rows.csv")]},
        "model": {"source": str(tiny_bert), "max_length_tokens": 8},
        "method": {"type": "frozen_layers", "trained_layers": 1},
        "training": {"precision": "fp32", "num_threads": 1, "epochs": 1.0},
        "evaluation": {"confidence": 0.8},
        "output_dir": str(tmp_path / "run"),
    }
    result = tune(*load_run_config(None, values), budget_seconds=30.0)
    assert result.details.baseline_evaluation is not None
    assert {result.details.evaluation.confidence, result.details.baseline_evaluation.confidence} == {0.8}
    summary = io.StringIO()
    print_tune_summary(result, summary)
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    card = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for text in (summary.getvalue(), report, page, card):
        assert "80% interval" in text
        assert "95% interval" not in text
    (note,) = result.details.evaluation.notes
    num_cut = int(note.removeprefix("test rows: ").split(" of ")[0])
    assert 0 < num_cut < result.rows.test
    assert note.endswith(f" of {result.rows.test} rows were longer than 8 tokens and cut")
    assert note in report
    assert note in result.details.announcements


def test_labels_of_a_cell_are_separated_as_told() -> None:
    trained = ColumnsFound(text=["text"], target="label", label_separator=",", kind="multi_label")
    assert columns_of(trained).label_separator == ","
    assert columns_of(trained, label_separator="|").label_separator == "|"
