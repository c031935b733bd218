"""Checks of a person's own, from command line to result: what is wrong with them costs no training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import feinschliff
from feinschliff.errors import ConfigError
from tests.acceptance.walk import Outcome, Refusal, assert_refused, call

Capture = pytest.CaptureFixture[str]
SHORT = ("--task", "sft", "--task.max-new-tokens", "4", "--training.epochs", "1", "--training.precision", "fp32")
FILES = {
    "good.py": "open('log', 'a').write('x')\ndef score(prompt, answer, reference): return len(answer) > 0",
    "late.py": "class Odd(Exception): ...\ndef score(prompt, answer, reference): raise Odd('no such word')",
    "broken.py": "def score(prompt, answer, reference) return 1",
    "broken.json": '{"$ref": "#/$defs/person"}',
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checks")
    asked = [{"role": "user", "content": f"What is {n} and {n}?"} for n in range(60)]
    rows = [{"messages": [one, {"role": "assistant", "content": str(2 * n)}]} for n, one in enumerate(asked)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def desk(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(place / "cache"))
    monkeypatch.setenv("FEINSCHLIFF_OFFLINE", "1")
    (place / "log").unlink(missing_ok=True)
    for name, text in FILES.items():  # new, or a process has run them already
        (place / name).write_text(text, encoding="utf-8")
    return place


def checked(capsys: Capture, verb: str, model: Path, name: str, *checks: str, **fields: str) -> Outcome:
    options = [part for check in checks for part in ("--evaluation.checks", check)]
    options += [part for field, value in fields.items() for part in (f"--evaluation.{field}", value)]
    return call(capsys, verb, "rows.jsonl", "--model", str(model), "--output-dir", name, *SHORT, *options, "--json")


@pytest.mark.parametrize("verb", ["tune", "train"])
def test_all_wrong_checks_are_refused_at_once_before_any_training(
    verb: str, desk: Path, tiny_decoder: Path, capsys: Capture
) -> None:
    """And a start that was refused does not bind the directory."""
    asked = ("mine=python:godo.py", "person=json_schema:broken.json", "other=python:broken.py", "fine=python:good.py")
    expected = (
        Refusal("check 'mine=python:godo.py' cannot be made", "evaluation.checks", "there is no file godo.py"),
        Refusal("check 'person=json_schema:broken.json'", "evaluation.checks", "refers to '#/$defs/person'"),
        Refusal("check 'other=python:broken.py'", "evaluation.checks", "broken.py:1: SyntaxError"),
    )
    assert_refused(checked(capsys, verb, tiny_decoder, f"{verb}-wrong", *asked), *expected)
    left = {file.name for file in (desk / f"{verb}-wrong").rglob("*")}
    assert not {"model", "checkpoints", "training.json", "held_out.jsonl"} & left
    corrected = checked(capsys, verb, tiny_decoder, f"{verb}-wrong", "mine=python:good.py")
    assert corrected.code in (0, 1), corrected


def test_a_check_that_fails_at_the_end_is_corrected_without_training_again(
    desk: Path, tiny_decoder: Path, capsys: Capture
) -> None:
    failed = checked(capsys, "tune", tiny_decoder, "late", "mine=python:late.py")
    assert_refused(failed, Refusal("check mine: score() failed in late.py:2", why="Odd: no such word", remedy="mend"))
    trained = desk / "late" / "training.json"
    before = trained.stat().st_mtime_ns
    other_rows = checked(capsys, "tune", tiny_decoder, "late", "mine=python:good.py", metric="mine")
    assert_refused(
        other_rows, Refusal("another configuration", "output_dir", "evaluation.metric: None there, mine here")
    )
    corrected = checked(capsys, "tune", tiny_decoder, "late", "mine=python:good.py", written_rows="3")
    assert corrected.code in (0, 1), corrected
    assert trained.stat().st_mtime_ns == before, "what was trained is kept"
    assert (desk / "log").read_text() == "x", "the file is run once for all that it is asked for"
    assert "mine" in corrected.document["test"]
    told = [note for note in corrected.document["details"]["announcements"] if "judged otherwise" in note]
    assert [note.rpartition("begun: ")[2] for note in told] == [
        "evaluation.checks: ['mine=python:late.py'] there, ['mine=python:good.py'] here",
        "evaluation.written_rows: 32 there, 3 here",
    ]
    kept = json.loads((desk / "late" / "config.json").read_text(encoding="utf-8"))
    assert kept["evaluation"]["checks"] == ["mine=python:good.py"]


def test_a_result_is_that_of_its_own_checks(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    """A finished run is not given out for another evaluation; that has a verb of its own."""
    first = checked(capsys, "tune", tiny_decoder, "done", "mine=python:good.py", "long=regex:.{9}")
    assert first.code in (0, 1), first
    (desk / "good.py").rename(desk / "gone.py")
    again = checked(capsys, "tune", tiny_decoder, "done", "mine=python:good.py", "long=regex:.{9}")
    (desk / "gone.py").rename(desk / "good.py")
    assert again.document["test"] == first.document["test"], "nothing is looked for to give a result"
    refused = checked(capsys, "tune", tiny_decoder, "done", "mine=python:late.py")
    assert_refused(refused, Refusal("another configuration", "output_dir", "evaluation.checks", "evaluate done"))
    other = call(
        capsys, "evaluate", "done", "--checks", "short=regex:^.{0,3}$", "--checks", "some=python:good.py", "--json"
    )
    assert other.code == 0, other
    assert {"short", "some"} <= other.document["metrics"].keys()
    assert not {"mine", "long"} & other.document["metrics"].keys()
    in_python = feinschliff.evaluate("done", checks=["some=python:good.py"])
    assert in_python.metrics["some"].value == other.document["metrics"]["some"]["value"]


def test_evaluate_refuses_wrong_checks_before_it_answers_a_row(
    desk: Path, tiny_decoder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = checked(capsys, "tune", tiny_decoder, "decided", "mine=python:good.py", metric="mine")
    assert trained.code in (0, 1), trained
    other = call(capsys, "evaluate", "decided", "--checks", "short=regex:^.{0,3}$", "--json")
    assert (other.code, other.document["metric"]) == (0, "loss")
    assert any(note.startswith("mine decided of the run") for note in other.document["notes"])
    monkeypatch.setattr("feinschliff.predictor.Predictor.score", None)
    options = ("--checks", "a=python:nowhere.py", "--checks", "b=json_schema:broken.json")
    expected = (Refusal("check 'a=", "evaluation.checks", "no file"), Refusal("check 'b=", "evaluation.checks"))
    assert_refused(call(capsys, "evaluate", "decided", *options, "--json"), *expected)
    assert_refused(
        call(capsys, "evaluate", "decided", "--checks", "a=nothing", "--json"),
        Refusal("does not hold", "evaluation.checks", "there is no kind 'nothing'"),
    )
    with pytest.raises(ConfigError, match="there is no metric 'foo'"):
        feinschliff.evaluate("decided", metric="foo")


def test_a_run_that_writes_nothing_has_nothing_to_check(desk: Path, tiny_bert: Path, capsys: Capture) -> None:
    lines = [f"{word} parcel lost {n},{word}" for n, word in enumerate(["red", "blue"] * 20)]
    (desk / "rows.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    fast = ("--training.epochs", "1", "--training.precision", "fp32", "--output-dir", "classes")
    trained = call(capsys, "train", "rows.csv", "--model", str(tiny_bert), *fast)
    assert trained.code == 0, trained
    refused = call(capsys, "evaluate", "classes", "--checks", "a=json", "--json")
    assert_refused(refused, Refusal("writes no answers", "evaluation.checks", remedy="leave the checks out"))
