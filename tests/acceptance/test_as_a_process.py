"""A chosen few steps of the walk as real processes: what a shell sees is what the functions say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.walk import GOOD, Refusal, assert_no_traceback, assert_refused, start

FEW = {
    "an empty file": (["data", "check", "empty.csv"], Refusal("the file is empty", "empty.csv", remedy="a header")),
    "an unknown option": (["tune", "good.csv", "--modle", "x"], Refusal("--modle", "command line", remedy="--model")),
    "a model that is none": (["tune", "good.csv", "--model", "no"], Refusal("no model 'no'", "model.source")),
    "a run that is none": (["evaluate", "runs/none"], Refusal("there is no run runs/none", remedy="runs list")),
}
QUICK = ("an empty file", "a run that is none")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FEW]
)
def test_refused(name: str, desk: Path, good: Path) -> None:
    (desk / "empty.csv").write_text("", encoding="utf-8")
    arguments, expected = FEW[name]
    assert_refused(start(*arguments, "--json", cwd=desk), expected)
    assert good.read_text(encoding="utf-8") == GOOD


@pytest.mark.slow
def test_plain_words_without_json(desk: Path, good: Path) -> None:
    outcome = start("train", "good.csv", "--output-dir", "good.csv/run", cwd=desk)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err == (
        "error: output_dir: good.csv/run cannot be written\n"
        "  why: Not a directory\n"
        "  do:  choose another --output-dir\n"
    )
    assert_no_traceback(outcome)
