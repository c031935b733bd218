"""Files that cannot be learned from are refused with file, line and remedy; faults a run can live with are counted."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.walk import GOOD, Refusal, assert_no_traceback, assert_refused, call, contents, rows, table

Train = Callable[..., list[str]]
Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True, slots=True)
class Case:
    """A file, and what is said about it."""

    name: str
    content: bytes | str
    refusal: Refusal
    check: int = 2
    """Exit code of `data check`: 2 where the file cannot be read, 1 where it can be, but not be learned from."""

    @property
    def bytes(self) -> bytes:
        """The file's content."""
        return self.content.encode() if isinstance(self.content, str) else self.content


_TIMES = [(text, f"2026-03-{1 + n % 28:02d}T{n:02d}:17:05") for n, (text, _) in enumerate(rows(20))]
REFUSED = [
    Case("empty file", "", Refusal("the file is empty", "data.csv", remedy="a header and rows")),
    Case("blank lines only", "\n\n\n", Refusal("the file is empty", "data.csv", remedy="a header and rows")),
    Case("header only", "text,label\n", Refusal("the file holds no rows", "data.csv", remedy="a file with rows")),
    Case(
        "one row",
        table(rows(1)),
        Refusal("1 usable row: too few", "data.csv", "every class needs rows", "some dozens of rows a class"),
        check=1,
    ),
    Case(
        "one class",
        table(rows(40, ("refund",))),
        Refusal("every row has the label 'refund'", "data.csv", "at least two", "--target COLUMN"),
        check=1,
    ),
    Case(
        "a class with a single row",
        GOOD + "where is it,solo\n",
        Refusal("'solo' has a single row", "data.csv:62", "training set", "--min-rows-per-class 2"),
        check=1,
    ),
    Case(
        "no label column",
        table(_TIMES, "text,written"),
        Refusal("no label column was found", "data.csv", "columns: text", "--target COLUMN"),
    ),
    Case(
        "one column",
        "text\n" + "".join(f"{text}\n" for text, _ in rows(40)),
        Refusal("no label column was found", "data.csv", "columns: text (40", "--target COLUMN"),
    ),
    Case(
        "a row with too few cells",
        GOOD + "too few\n" + "one,two,three\n",
        Refusal("1 cells instead of 2 (text, label)", "data.csv:62", "'too few'", "in double quotes"),
    ),
    Case(
        "a row with too many cells, reported with the others",
        GOOD + "too few\n" + "one,two,three\n",
        Refusal("3 cells instead of 2", "data.csv:63", "one | two | three", "in double quotes"),
    ),
    Case(
        "duplicate header",
        GOOD.replace("text,label", "text,text"),
        Refusal("the header names 'text' 2 times", "data.csv:1", "columns 1, 2", "its own name"),
    ),
    Case("bytes", bytes(range(256)) * 40, Refusal("this is not text", "data.csv", remedy="a table of text")),
    Case(
        "a picture",
        b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(4000),
        Refusal("it is a PNG picture", "data.csv", remedy="a table of text"),
    ),
    Case(
        "a workbook",
        b"PK\x03\x04" + random.Random(1).randbytes(4000),
        Refusal("a zip archive or an Excel workbook", "data.csv", remedy=".xlsx"),
    ),
    Case(
        "invalid bytes",
        GOOD.encode() + "größe é parcel,delivery\n".encode() + b"lost \xff\xfe\x80 parcel,delivery\n",
        Refusal("bytes that are not utf-8: 0xFF 0xFE 0x80", "data.csv:63", remedy="--data.encoding"),
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(case: Case, desk: Path, finished: Path, train: Train, capsys: Capture) -> None:
    (desk / "data.csv").write_bytes(case.bytes)
    before = contents(finished)
    for verb in ("train", "tune"):
        outcome = call(capsys, verb, *train("data.csv", output_dir=f"runs/{verb}")[1:])
        assert_refused(outcome, case.refusal)
    checked = call(capsys, "data", "check", "data.csv", "--model", "none", "--json")
    assert checked.code == case.check
    if case.check == 2:
        assert_refused(checked, case.refusal)
    else:
        assert [finding for finding in checked.document["findings"] if finding["severity"] == "error"]
    assert_no_traceback(checked)
    assert contents(finished) == before
    assert (desk / "data.csv").read_bytes() == case.bytes


EVALUATED = [case for case in REFUSED if case.name in ("empty file", "duplicate header", "bytes", "invalid bytes")]


@pytest.mark.parametrize("case", EVALUATED, ids=lambda case: case.name)
@pytest.mark.parametrize("verb", [("evaluate", "runs/finished"), ("predict", "runs/finished", "--file")], ids="|".join)
def test_refused_by_a_finished_run(
    case: Case, verb: tuple[str, ...], desk: Path, finished: Path, capsys: Capture
) -> None:
    (desk / "data.csv").write_bytes(case.bytes)
    before = contents(finished)
    assert_refused(call(capsys, *verb, "data.csv", "--json"), case.refusal)
    assert contents(finished) == before


def test_a_label_in_only_one_split(desk: Path, good: Path, train: Train, capsys: Capture) -> None:
    (desk / "test.csv").write_text(table(rows(20, seed=1)) + "something new,alien\n", encoding="utf-8")
    expected = Refusal("unknown label 'alien'", "test.csv:22", "no training row has it", "correct it")
    for option in ("--test", "--validation"):
        assert_refused(call(capsys, *train("good.csv"), option, "test.csv"), expected)
    checked = call(capsys, "data", "check", "good.csv", "--test", "test.csv", "--model", "none", "--json")
    assert checked.code == 1
    assert "unknown_label" in {finding["kind"] for finding in checked.document["findings"]}


def test_a_validation_file_that_is_the_test_file(desk: Path, good: Path, train: Train, capsys: Capture) -> None:
    for name in ("dev.csv", "test.csv"):
        (desk / name).write_text(table(rows(20, seed=1)), encoding="utf-8")
    given = ("--validation", "dev.csv", "--test", "test.csv")
    expected = Refusal("the validation file repeats the test file", "dev.csv", "test.csv", "leave --validation out")
    assert_refused(call(capsys, *train("good.csv"), *given), expected)
    checked = call(capsys, "data", "check", "good.csv", *given, "--model", "none", "--json")
    found = [finding["message"] for finding in checked.document["findings"] if finding["kind"] == "overlap"]
    assert "20 validation rows stand in the test file too, exactly or nearly" in found


def test_a_label_that_a_finished_run_does_not_know(desk: Path, finished: Path, capsys: Capture) -> None:
    (desk / "test.csv").write_text(table(rows(20, seed=1)) + "something new,alien\n", encoding="utf-8")
    expected = Refusal("unknown label 'alien'", "test.csv:22", "the run does not know it", "correct it")
    assert_refused(call(capsys, "evaluate", "runs/finished", "test.csv", "--json"), expected)


def test_all_faults_of_a_file_at_once(desk: Path, train: Train, capsys: Capture) -> None:
    (desk / "data.csv").write_text(GOOD + "too few\na,b,c\nd\n", encoding="utf-8")
    faults = call(capsys, *train("data.csv")).document["error"]["faults"]
    assert [fault["where"] for fault in faults] == ["data.csv:62", "data.csv:63", "data.csv:64"]


LARGE_CELL = "lost parcel " * 430_000
GOES_ON: dict[str, tuple[bytes, str, dict[str, int]]] = {
    "nan and empty cells": (
        (GOOD + "nan,refund\n,refund\nsome words,\nother words,NaN\n").encode(),
        "1 rows dropped: no label in column 'label' (it says 'NaN')",
        {"nan_cells": 2, "empty": 1, "missing_label": 1},
    ),
    "utf-16": (GOOD.encode("utf-16"), "data.csv: encoding utf-16", {}),
    "utf-16 without a mark": (GOOD.encode("utf-16-le"), "data.csv: encoding utf-16-le", {}),
    "byte order mark": (
        b"\xef\xbb\xbf" + GOOD.encode(),
        "data.csv: encoding utf-8-sig, delimiter comma, header text, label",
        {},
    ),
    "windows-1252": (GOOD.replace("parcel", "Päckchen").encode("cp1252"), "data.csv: encoding cp1252", {}),
}


@pytest.mark.parametrize("name", GOES_ON)
def test_goes_on_and_says_so(name: str, desk: Path, train: Train, capsys: Capture) -> None:
    content, announced, found = GOES_ON[name]
    (desk / "data.csv").write_bytes(content)
    trained = call(capsys, *train("data.csv"))
    assert trained.code == 0, trained.err
    assert announced in trained.err
    assert_no_traceback(trained)
    assert trained.document["rows"] == 42
    assert _counts(call(capsys, "data", "check", "data.csv", "--model", "none", "--json"), found) == found
    assert (desk / "data.csv").read_bytes() == content


def test_a_large_cell_is_reported(desk: Path, capsys: Capture) -> None:
    (desk / "data.csv").write_text(f'{GOOD}"{LARGE_CELL}",delivery\n', encoding="utf-8")
    checked = call(capsys, "data", "check", "data.csv", "--model", "none", "--json")
    (finding,) = [finding for finding in checked.document["findings"] if finding["kind"] == "cell_size"]
    assert finding["count"] == 1
    assert finding["examples"][0]["line"] == 62
    assert "5,160,000 characters" in finding["examples"][0]["note"]
    assert checked.code == 0


@pytest.mark.slow
def test_a_large_cell_is_cut_and_counted(desk: Path, train: Train, capsys: Capture) -> None:
    (desk / "data.csv").write_text(f'{GOOD}"{LARGE_CELL}",delivery\n', encoding="utf-8")
    trained = call(capsys, *train("data.csv"))
    assert trained.code == 0, trained.err
    assert "rows are longer and were cut" in trained.err
    assert_no_traceback(trained)


def _counts(checked: Any, kinds: dict[str, int]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for finding in checked.document["findings"]:
        if finding["kind"] in kinds:
            totals[finding["kind"]] = totals.get(finding["kind"], 0) + finding["count"]
    return totals
