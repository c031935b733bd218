"""What language models write to held-out rows, from command line to verdict: checks decide, rows may not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import feinschliff
from feinschliff.errors import ConfigError
from tests.acceptance.walk import Outcome, Refusal, assert_refused, call

Capture = pytest.CaptureFixture[str]
SHORT = ("--task", "sft", "--task.max-new-tokens", "4", "--training.epochs", "1", "--training.precision", "fp32")
LONG = {"messages": [{"role": "user", "content": "Why? " * 400}, {"role": "assistant", "content": "So"}]}


def chat(number: int) -> dict[str, Any]:
    asked = {"role": "user", "content": f"What is {number} and {number}?"}
    return {"messages": [asked, {"role": "assistant", "content": f"#### {2 * number}"}]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    files = {"rows": [chat(n) for n in range(60)], "mixed": [LONG, chat(70), chat(71)], "long": [LONG, LONG]}
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def desk(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(place / "cache"))
    monkeypatch.setenv("FEINSCHLIFF_OFFLINE", "1")
    return place


def tuned(capsys: Capture, model: Path, name: str, *options: str) -> Outcome:
    files = ("rows.jsonl", "--model", str(model), "--output-dir", name)
    return call(capsys, "tune", *files, *SHORT, *options, "--json")


def test_a_check_decides_and_nothing_written_is_said(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    checks = ("--evaluation.checks", "number=last_number", "--evaluation.metric", "number")
    outcome = tuned(capsys, tiny_decoder, "checked", *checks)
    assert outcome.code in (0, 1), outcome
    found = outcome.document
    assert (found["metric"], found["details"]["training"]["metric"]) == ("number", "loss")
    assert set(found["difference"]) == {"value", "low", "high", "p"}
    assert any("4 tokens (task.max_new_tokens)" in note for note in found["details"]["evaluation"]["notes"])
    later = call(capsys, "evaluate", "checked", "--json").document
    assert (later["metric"], later["metrics"]["number"]) == ("number", found["test"]["number"])
    silent = call(capsys, "evaluate", "checked", "--written-rows", "0", "--json")
    assert silent.code == 0, silent
    assert silent.document["metric"] == "loss"
    assert "number is not measured: no row was answered in writing" in silent.document["notes"]
    assert later["metrics"]["loss"] == found["test"]["loss"], "in the precision that it was judged in"
    with pytest.raises(ConfigError, match="there is no metric 'foo' of this model"):
        feinschliff.evaluate("checked", metric="foo")


def test_checks_that_show_no_gain_stand_beside_the_verdict(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    asked = ("--evaluation.checks", "number=last_number", "--training.learning-rate", "0.01")
    outcome = tuned(capsys, tiny_decoder, "careful", *asked)
    verdict = outcome.document["details"]["verdict"]
    assert verdict["verdict"] == "ship", "it learned, or nothing is tested"
    rows = len(outcome.document["details"]["evaluation"]["written"])
    said = f"But what it writes is not seen to be better: number 0.0% (baseline 0.0%), on {rows} rows."
    assert verdict["caution"] == said
    again = call(capsys, "tune", "rows.jsonl", "--model", str(tiny_decoder), "--output-dir", "careful", *SHORT, *asked)
    assert said in " ".join(again.out.split())
    for page in ("report.html", "report.md", "model/README.md"):
        assert said in (desk / "careful" / page).read_text(encoding="utf-8").replace("\\", ""), page


TEMPLATE = """{% for m in messages %}{% if m['role'] == 'user' %}<|im_start|>user
{{ mood }} {{ m['content'] }}<|im_end|>
{% else %}<|im_start|>assistant
{{ m['content'] }}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def test_the_cards_code_writes_what_the_run_writes(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    """Also where the template takes arguments, of which the card does not speak. The report shows the answers."""
    (desk / "mood.jinja").write_text(TEMPLATE, encoding="utf-8")
    template = ("--task.chat-template", "mood.jinja", "--task.template-arguments", "mood=calmly")
    found = tuned(capsys, tiny_decoder, "mood", *template, "--training.learning-rate", "0.01").document
    asked = call(capsys, "predict", "mood", "What is 3?", "--precision", "fp32", "--json").document
    code = re.search(r"```python\n(.*?)```", (desk / "mood" / "model" / "README.md").read_text(encoding="utf-8"), re.S)
    assert code is not None
    lines = code[1].replace("path/to/this/folder", "mood/model").replace("your question", "What is 3?").rstrip()
    *before, last = lines.split("\n")
    names: dict[str, Any] = {}
    exec("\n".join([*before, f"written = {last}"]), names)
    assert names["written"].strip() == asked[0]["written"] != ""
    assert "calmly What is 3?" in names["tokenizer"].decode(names["ids"]["input_ids"][0])
    rows = found["details"]["evaluation"]["written"]
    for page in ("report.html", "report.md"):
        said = (desk / "mood" / page).read_text(encoding="utf-8").replace("\\", "")
        shown = said.partition("Answers side by side")[2]
        assert all(text in shown for row in rows[:2] for text in (row["prompt"], row["reference"])), page
    assert all(row["baseline"] is not None for row in rows)


def test_what_the_references_mark_decides_too(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    outcome = tuned(capsys, tiny_decoder, "marked", "--evaluation.metric", "extracted_match")
    assert outcome.document["metric"] == "extracted_match"
    unknown = tuned(capsys, tiny_decoder, "unknown", "--evaluation.metric", "number")
    assert_refused(unknown, Refusal("'number' cannot decide", "evaluation.metric", remedy="extracted_match"))


def test_rows_that_do_not_fit_are_left_out_of_a_verdict(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    outcome = tuned(capsys, tiny_decoder, "mixed", "--test", "mixed.jsonl")
    assert outcome.code in (0, 1), outcome
    evaluation = outcome.document["details"]["evaluation"]
    assert len(evaluation["written"]) == 2
    assert any("1 row cannot be asked: the prompt is too long" in note for note in evaluation["notes"])
    assert any(
        note.startswith("2 of 3 rows, drawn at random, were answered in writing") for note in evaluation["notes"]
    )
    assert "2 of 3 rows, drawn at random" in (desk / "mixed" / "report.html").read_text(encoding="utf-8")


def test_test_rows_of_which_none_fits_are_refused_before_training(
    desk: Path, tiny_decoder: Path, capsys: Capture
) -> None:
    outcome = tuned(capsys, tiny_decoder, "long", "--test", "long.jsonl")
    assert_refused(outcome, Refusal("2 of 2 rows have no token that carries loss", "long.jsonl:1", "longer than 256"))
    assert not (desk / "long" / "model").exists()
    refused = tuned(capsys, tiny_decoder, "long", "--validation", "long.jsonl")
    assert_refused(refused, Refusal("2 of 2 rows have no token that carries loss", "long.jsonl:1"))
    windows = ("--test", "long.jsonl", "--task.long-rows", "window", "--evaluation.metric", "exact_match")
    refused = tuned(capsys, tiny_decoder, "windows", *windows)
    assert_refused(refused, Refusal("exact_match is to decide", "evaluation.metric", "the prompt is too long"))
    assert not (desk / "windows" / "model").exists()
    trained = tuned(capsys, tiny_decoder, "later")
    assert trained.code in (0, 1), trained
    refused = call(capsys, "evaluate", "later", "long.jsonl", "--json")
    assert_refused(refused, Refusal("2 of 2 rows have no token that carries loss", "long.jsonl:1"))
