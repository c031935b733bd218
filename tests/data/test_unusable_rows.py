"""Conversations most of which cannot be used are refused, with counts and places; `data` still reads such files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feinschliff.cli.main import main
from feinschliff.config.data import DataConfig
from feinschliff.data.clean import clean
from feinschliff.data.load import load_splits
from feinschliff.data.quality import check
from feinschliff.errors import DataError

EMPTY, UNSAID = {"role": "assistant", "content": " "}, None


def talk(number: int, answer: dict[str, Any] | None) -> dict[str, Any]:
    asked = {"role": "user", "content": f"say {number} and {number * number} of them"}
    return {"messages": [asked, *([answer] if answer else [])]}


def answer(number: int) -> dict[str, Any]:
    return {"role": "assistant", "content": f"said {number}"}


def saved(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def mostly_empty(tmp_path: Path) -> str:
    """40 rows: 19 can be used, 18 have an empty answer, 3 none; the first that cannot stands in line 20."""
    rows = [talk(n, answer(n)) for n in range(19)]
    rows += [talk(n, UNSAID if n % 10 == 0 else EMPTY) for n in range(19, 40)]
    return saved(tmp_path / "talks of mine.jsonl", [*rows, talk(50, UNSAID)][:40])


def test_refused_with_reasons_places_and_what_to_do(mostly_empty: str) -> None:
    with pytest.raises(DataError) as caught:
        load_splits(DataConfig(train=(mostly_empty,)), 0)
    (fault,) = caught.value.faults
    assert fault.what == "21 of 40 rows cannot be learned from"
    places = [f"{mostly_empty}:{line}" for line in (20, 22, 23, 21, 31)]
    assert fault.why == (
        f"more than half; 19 an empty answer, at {places[0]}, {places[1]}, {places[2]} ...; "
        f"2 no message of the assistant, at {places[3]}, {places[4]}"
    )
    assert f"feinschliff data check '{mostly_empty}'" in (fault.remedy or "")


def test_the_command_line_refuses_it_before_any_model(
    mostly_empty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "no/such/model", "--output-dir", str(tmp_path / "run"), "--json"]
    assert main(["train", mostly_empty, *options]) == 2
    (fault,) = json.loads(capsys.readouterr().out)["error"]["faults"]
    assert fault["what"] == "21 of 40 rows cannot be learned from"


def test_half_of_the_rows_may_be_unusable(tmp_path: Path) -> None:
    rows = [talk(n, answer(n) if n % 2 else EMPTY) for n in range(40)]
    splits = load_splits(DataConfig(train=(saved(tmp_path / "a.jsonl", rows),)), 0)
    assert len(splits.dropped) == 20
    with pytest.raises(DataError, match="21 of 41 rows"):
        load_splits(DataConfig(train=(saved(tmp_path / "a.jsonl", [*rows, talk(99, EMPTY)]),)), 0)


def test_all_training_files_count_together_and_duplicates_do_not(tmp_path: Path, mostly_empty: str) -> None:
    rows = [talk(n, answer(n)) for n in range(100, 110)]
    more = saved(tmp_path / "more.jsonl", rows * 9)
    splits = load_splits(DataConfig(train=(mostly_empty, more)), 0)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 29
    assert len(splits.dropped) == 21 + 80
    alone = load_splits(DataConfig(train=(more,)), 0)
    assert len(alone.dropped) == 80


def test_personal_data_in_reasons_is_replaced_where_that_is_asked(tmp_path: Path) -> None:
    weighed = {**answer(1), "weight": "jane@firma.de"}
    rows = [talk(n, answer(n) if n < 5 else weighed) for n in range(20)]
    config = DataConfig(train=(saved(tmp_path / "a.jsonl", rows),))
    for redact, shown in ((False, "jane@firma.de"), (True, "[EMAIL]")):
        with pytest.raises(DataError) as caught:
            load_splits(config.model_copy(update={"redact": redact}), 0)
        assert f"15 a weight that is not a number from 0 to 1 (it says '{shown}')" in str(caught.value)


def test_it_can_be_checked_and_cleaned_and_what_is_left_is_learned(mostly_empty: str) -> None:
    report = check(DataConfig(train=(mostly_empty,)))
    unusable = [finding for finding in report.findings if finding.kind == "unusable"]
    assert [(one.severity, one.count) for one in unusable] == [("error", 21), ("warning", 19), ("warning", 2)]
    assert "21 of 40 training rows cannot be used" in unusable[0].message
    cleaned = clean(DataConfig(train=(mostly_empty,)))
    held_out = check(DataConfig(train=(cleaned.output,), test=(mostly_empty,)))
    assert {one.severity for one in held_out.findings if one.kind == "unusable"} == {"warning"}
    assert (cleaned.rows_written, sum(cleaned.dropped.values())) == (19, 21)
    splits = load_splits(DataConfig(train=(cleaned.output,)), 0)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 19
