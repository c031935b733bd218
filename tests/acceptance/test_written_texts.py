"""Sources with texts to be written from them, from file to export: what is learned, said and refused."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.walk import GOOD, Refusal, assert_no_traceback, assert_refused, call

Train = Callable[..., list[str]]
Capture = pytest.CaptureFixture[str]
WORDS = ["movie", "film", "book", "card", "bank", "order", "refund", "late", "lost", "train", "city", "food", "house"]


def pairs(count: int) -> list[tuple[str, str]]:
    """A text, and its words in reverse."""
    rng = random.Random(0)
    rows = [rng.choices(WORDS, k=rng.randint(3, 5)) for _ in range(count)]
    return [(" ".join(words), " ".join(words[::-1])) for words in dict.fromkeys(map(tuple, rows))]


def as_csv(rows: list[tuple[str, str]], header: str = "source,target") -> str:
    return "".join(f"{line}\n" for line in (header, *(",".join(row) for row in rows)))


def test_from_file_to_export(desk: Path, train: Train, tiny_bart: Path, capsys: Capture) -> None:
    """The rows say what they are; the code on the card writes what the run writes."""
    lines = [json.dumps({"translation": {"en": one, "de": other}}) for one, other in pairs(60)]
    (desk / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    options = ("--task.max-target-tokens", "16", "--task.prefix", "please ", "--training.learning-rate", "5e-3")
    task = ("--task", "sequence_to_sequence", "--method.type", "bottleneck_adapter", "--method.bottleneck", "4")
    trained = call(capsys, *train("rows.jsonl", model=tiny_bart, epochs=4), *options, *task)
    assert trained.code == 0, trained
    assert trained.document["metric"] == "chrf"
    assert "source 'en', target 'de'" in trained.err
    asked = call(capsys, "predict", "runs/new", "late train", "red book", "--json").document
    judged = call(capsys, "evaluate", "runs/new", "--json")
    assert {"chrf", "bleu", "rouge_l"} <= set(judged.document["metrics"])
    again = call(capsys, "evaluate", "runs/new", "rows.jsonl", "--json")
    assert again.document["rows"] == len(lines)
    written = call(capsys, "export", "runs/new", "--output-dir", "out", "--json")
    assert written.document["largest_difference"] < 1e-4
    card = (desk / "out" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: translation" in card
    code = re.search(r"```python\n(.*?)```", card, re.S)
    assert code is not None
    names: dict[str, Any] = {}
    exec(
        code[1]
        .replace("path/to/this/folder", "out")
        .replace('["a text", "another text"]', str(["late train", "red book"])),
        names,
    )
    assert [text.strip() for text in names["written"]] == [row["written"] for row in asked]


def test_the_rows_or_the_model_say_the_task(desk: Path, train: Train, tiny_bart: Path, capsys: Capture) -> None:
    (desk / "named.csv").write_text(as_csv(pairs(30)), encoding="utf-8")
    (desk / "other.csv").write_text(as_csv(pairs(30), "input,output"), encoding="utf-8")
    for file, said in (("named.csv", "(their names)"), ("other.csv", "(their names)")):
        outcome = call(
            capsys, *train(file, model=tiny_bart, output_dir=f"runs/{file}"), "--evaluation.metric", "rouge_l"
        )
        assert outcome.code == 0, outcome
        assert said in outcome.err
        assert "task sequence_to_sequence: what the rows are for" in outcome.err
        assert "pipeline_tag: summarization" in (desk / "runs" / file / "model" / "README.md").read_text()


def test_tune_gives_a_verdict(desk: Path, tiny_bart: Path, capsys: Capture) -> None:
    (desk / "rows.csv").write_text(as_csv(pairs(60)), encoding="utf-8")
    outcome = call(
        capsys, "tune", "rows.csv", "--model", str(tiny_bart), "--output-dir", "runs/t", "--training.precision", "fp32",
        "--method.type", "full", "--training.epochs", "2", "--task", "sequence_to_sequence",
        "--task.max-target-tokens", "16", "--json",
    )  # fmt: skip
    assert outcome.code in (0, 1), outcome
    assert set(outcome.document["baselines"]) == {"copied source", "untuned model"}
    page = (desk / "runs" / "t" / "report.html").read_text(encoding="utf-8")
    assert "copied source" in page
    assert "chrF" in page


def test_wrong_files_are_refused(desk: Path, train: Train, tiny_bart: Path, capsys: Capture) -> None:
    task = ("--task", "sequence_to_sequence")
    empty = as_csv([(one, "") for one, _ in pairs(20)])
    missing = as_csv(pairs(20), "source,text")
    cases = {
        "empty.csv": (empty, task, Refusal("", why="no text in column 'target'")),
        "classes.csv": (GOOD, (*task, "--data.target", "nothing"), Refusal("there is no column 'nothing'")),
        "numbers.csv": ("a,b\n1,2\n3,4\n", task, Refusal("no columns of a source", "numbers.csv", "a, b", "--text")),
        "missing.csv": (
            missing,
            (*task, "--data.text", "source", "--data.target", "targt"),
            Refusal("there is no column 'targt'", "--target", "", "columns: source, text"),
        ),
    }
    for name, (content, options, refusal) in cases.items():
        (desk / name).write_text(content, encoding="utf-8")
        outcome = call(capsys, *train(name, model=tiny_bart, output_dir=f"runs/{name}"), *options)
        assert_refused(outcome, refusal)
        assert_no_traceback(outcome)


def test_some_empty_targets_are_dropped_and_listed(desk: Path, train: Train, tiny_bart: Path, capsys: Capture) -> None:
    rows = pairs(30)
    rows[3] = (rows[3][0], "")
    (desk / "rows.csv").write_text(as_csv(rows), encoding="utf-8")
    outcome = call(capsys, *train("rows.csv", model=tiny_bart))
    assert outcome.code == 0, outcome
    assert "1 rows dropped: no text in column 'target'" in outcome.err
    assert "rows.csv,5,no text in column 'target'" in (desk / "runs" / "new" / "dropped.csv").read_text()


def test_models_that_cannot_write_are_refused(desk: Path, train: Train, capsys: Capture) -> None:
    (desk / "rows.csv").write_text(as_csv(pairs(30)), encoding="utf-8")
    outcome = call(capsys, *train("rows.csv"))
    assert_refused(outcome, Refusal("is not an encoder-decoder", "model.source", "decoder", "t5-small"))
    unnamed = call(capsys, "train", "rows.csv", "--output-dir", "runs/b", "--json")
    assert_refused(unnamed, Refusal("no model that writes was named", "model.source", "minilm-l6", "t5-small"))


def test_methods_for_encoders_are_refused(desk: Path, train: Train, tiny_bart: Path, capsys: Capture) -> None:
    (desk / "rows.csv").write_text(as_csv(pairs(30)), encoding="utf-8")
    asked = ("--task", "sequence_to_sequence", "--method.type", "prompt_tuning")
    outcome = call(capsys, *train("rows.csv", model=tiny_bart), *asked)
    assert_refused(outcome, Refusal("method prompt_tuning does not go with", "method.type", "decoder", "lora"))


def test_a_cell_with_a_wrong_metric_is_refused(desk: Path, train: Train, tiny_bart: Path, capsys: Capture) -> None:
    (desk / "rows.csv").write_text(as_csv(pairs(30)), encoding="utf-8")
    outcome = call(capsys, *train("rows.csv", model=tiny_bart), "--evaluation.metric", "accuracy")
    assert_refused(outcome, Refusal("'accuracy' cannot decide", "evaluation.metric", "", "chrf, bleu, rouge_l"))
