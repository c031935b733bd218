"""A wrong file through every verb: what must hold for all kinds of rows alike. Knows no kind and no case."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.walk import Outcome, Refusal, assert_no_traceback, assert_refused, call, contents

Capture = pytest.CaptureFixture[str]
WORDS = ["the", "my", "please", "help", "when", "new", "old", "day", "night", "work", "home", "city", "car", "train"]
QUICK = ("--training.epochs", "1", "--training.precision", "fp32", "--training.num-threads", "1", "--json")


@dataclass(frozen=True, slots=True)
class Wrong:
    """A file that nothing can be learned from."""

    name: str
    content: str
    refusal: Refusal
    check: int = 2
    """Exit code of `data check`, which knows of no task: 2 unreadable, 1 an error among its findings, 0 fit for
    another task."""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Faulty:
    """A file that a run can live with: rows are dropped or mended, counted and said."""

    name: str
    content: str
    said: str
    dropped: tuple[str, ...] = ()
    """Lines of dropped.csv: each row that is left out, with its place and the reason."""
    evaluated: int | None = None
    """Rows that a finished run is judged on; None: not asked."""
    predicted: str | None = None
    """Why a finished run gives no answers for the file; None: it gives one a row, labels are not needed."""
    options: tuple[str, ...] = ()
    check: int = 0
    """Exit code of `data check`: not 0 where only a named task says what the rows are."""


def assert_wrong(case: Wrong, model: Path, capsys: Capture) -> None:
    """No verb learns from it, each says why, and no folder claims to hold a run that succeeded."""
    Path(case.name).write_text(case.content, encoding="utf-8")
    for verb in ("train", "tune"):
        assert_not_learned(call(capsys, *learning(verb, case.name, model), *case.options), case.refusal, verb)
    checked = call(capsys, "data", "check", case.name, "--model", "none", "--json")
    assert_no_traceback(checked)
    assert checked.code == case.check, checked
    if case.check == 1:
        assert [one for one in checked.document["findings"] if one["severity"] == "error" and one["remedy"]]
    assert Path(case.name).read_text(encoding="utf-8") == case.content


def learning(verb: str, data: str, model: Path | None) -> list[str]:
    """The command line of a short run at ``runs/VERB``."""
    named = ["--model", str(model)] if model is not None else []
    return [verb, data, *named, "--output-dir", f"runs/{verb}", *QUICK]


def assert_not_learned(outcome: Outcome, refusal: Refusal, verb: str) -> None:
    """Refused, and what is left in the folder says so."""
    assert_refused(outcome, refusal)
    run = Path("runs") / verb
    if run.exists():
        assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "failed"
        assert not (run / "model").exists()


def assert_faulty(case: Faulty, model: Path, finished: Path, capsys: Capture) -> None:
    """Trained without what is wrong; the same of a finished run, which answers all rows or none."""
    Path(case.name).write_text(case.content, encoding="utf-8")
    trained = call(capsys, *learning("train", case.name, model), *case.options)
    assert trained.code == 0, trained
    assert case.said in trained.err
    listed = (Path("runs/train") / "dropped.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(listed) == len(case.dropped), listed
    for line, expected in zip(listed, case.dropped, strict=True):
        assert line.startswith(expected), listed
    checked = call(capsys, "data", "check", case.name, "--model", "none", "--json")
    assert checked.code == case.check, checked
    if case.evaluated is not None:
        judged = call(capsys, "evaluate", str(finished), case.name, "--json")
        assert judged.document["rows"] == case.evaluated
        assert any("left out" in note for note in judged.document["notes"]) == bool(case.dropped), judged.document
    assert_predicted(case, finished, capsys)
    for outcome in (trained, checked):
        assert_no_traceback(outcome)


def assert_predicted(case: Faulty, finished: Path, capsys: Capture) -> None:
    """An answer for every row, or a refusal that names the first that cannot be."""
    asked = call(capsys, "predict", str(finished), "--file", case.name, "--json")
    if case.predicted is not None:
        assert_refused(asked, Refusal("cannot be predicted", case.name, case.predicted, "every row gets an answer"))
    else:
        assert asked.code == 0, asked
        assert asked.document


def assert_refused_by_a_run(finished: Path, files: Sequence[str], refusal: Refusal, capsys: Capture) -> None:
    """Neither judged nor answered; the run stays as it is."""
    before = contents(finished)
    for file in files:
        assert_refused(call(capsys, "evaluate", str(finished), file, "--json"), refusal)
        assert_refused(call(capsys, "predict", str(finished), "--file", file, "--json"), refusal)
    assert contents(finished) == before
