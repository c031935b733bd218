"""Cleaned files without personal data: every format stays readable, nothing that is found is left, all is counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.load import load_examples, load_splits, open_with_columns
from feinschliff.data.personal_data import find, texts_of
from feinschliff.data.quality import check
from feinschliff.errors import DataError
from feinschliff.lifecycle.convert import convert
from feinschliff.lifecycle.data import clean, split
from feinschliff.results.data import CleanResult
from tests.data.test_load import rows, write

MAIL, PHONE, CARD = "jane@firma.de", "+49 30 901820", "4111 1111 1111 1111"


def cleaned(source: Path, **changes: Any) -> CleanResult:
    return clean(DataConfig(train=(str(source),), redact=True, **changes))


def left_in(path: str) -> list[str]:
    """What is found in the rows as a run reads them."""
    config = DataConfig(train=(path,))
    columns = open_with_columns([path], config)[1]
    return [text for row in load_examples([path], config, columns)[0] for text in texts_of(row) if find(text)]


def test_conversations_in_every_format(tmp_path: Path) -> None:
    call = {
        "type": "function",
        "function": {"name": "send", "arguments": json.dumps({"to": MAIL, "body": f"x\n{PHONE}"})},
    }
    messages = [
        {"role": "user", "content": f"write to {MAIL}"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": f"sent to {MAIL}"},
        {"role": "assistant", "content": [{"type": "text", "text": f"Done: {MAIL}", "weight": 0.5}]},
    ]
    tools = [{"type": "function", "function": {"name": "send", "description": f"ask {MAIL}"}}]
    openai = tmp_path / "talks.jsonl"
    openai.write_text("".join(json.dumps({"messages": messages, "tools": tools, "n": n}) + "\n" for n in range(3)))
    result = cleaned(openai, duplicates="keep")
    assert result.redacted == {"EMAIL": 12, "PHONE": 3}
    assert (result.redacted_rows, result.rows_written) == (3, 3)
    written = [json.loads(line) for line in Path(result.output).read_text().splitlines()]
    assert written[0]["messages"][0]["content"] == "write to [EMAIL]"
    arguments = json.loads(written[0]["messages"][1]["tool_calls"][0]["function"]["arguments"])
    assert arguments == {"to": "[EMAIL]", "body": "x\n[PHONE]"}
    assert written[0]["messages"][3]["content"] == [{"type": "text", "text": "Done: [EMAIL]", "weight": 0.5}]
    assert written[0]["tools"] == tools
    assert left_in(result.output) == []
    table = tmp_path / "table.csv"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([["messages"], *([write(messages)] for write in (json.dumps, str, json.dumps))])
    assert left_in(str(table))
    again = cleaned(table, duplicates="keep")
    assert (again.redacted, again.rows_written) == (result.redacted, 3)
    assert left_in(again.output) == []


def test_texts_with_labels_and_other_columns(tmp_path: Path) -> None:
    data = [(f"{text} {MAIL}" if n < 2 else text, label, f"cust{n}@firma.de") for n, (text, label) in enumerate(rows())]
    source = write(tmp_path / "rows.csv", data, ("text", "label", "from"))
    result = cleaned(Path(source))
    assert result.redacted == {"EMAIL": 62}
    assert result.redacted_beside == {"from": {"EMAIL": 60}}
    written = list(csv.DictReader(open(result.output)))  # noqa: SIM115
    assert written[0] == {"text": f"{rows()[0][0]} [EMAIL]", "label": "a", "from": "[EMAIL]"}
    assert written[2]["text"] == rows()[2][0]


def test_labels_that_look_like_personal_data_stay(tmp_path: Path) -> None:
    data = [(text, f"{label}@firma.de") for text, label in rows()]
    result = cleaned(Path(write(tmp_path / "rows.csv", data)))
    assert result.redacted == {}
    assert "a@firma.de" in Path(result.output).read_text()


def test_rows_that_are_the_same_without_personal_data_are_duplicates(tmp_path: Path) -> None:
    data = [*rows(), (f"mail {MAIL} about it", "a"), ("mail john@firma.de about it", "a"), (f" {MAIL}", "")]
    source = write(tmp_path / "rows.csv", data)
    result = cleaned(Path(source))
    assert result.rows_written == 61
    listed = Path(result.dropped_output).read_text()
    assert f"exact duplicate of an earlier row: {source}:62" in listed
    assert "firma" not in listed


def test_a_find_across_two_parts_of_a_message_is_no_loophole(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "jane@fir", "weight": 1}, {"type": "text", "text": "ma.de is hers"}]
    asked = {"role": "user", "content": "mail?"}
    source = tmp_path / "talks.jsonl"
    lines = [[asked, {"role": "assistant", "content": content}] for content in (parts, "none", "no mail")]
    source.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in lines))
    result = cleaned(source)
    assert result.dropped == {"personal data lies across parts of a text": 1}
    assert left_in(result.output) == []


def test_rows_with_places_are_refused(tmp_path: Path) -> None:
    row = {"text": f"Jane, {MAIL}", "spans": [{"start": 0, "end": 4, "label": "PER"}]}
    (tmp_path / "spans.jsonl").write_text((json.dumps(row) + "\n") * 5)
    with pytest.raises(DataError, match="rows with spans cannot be written without personal data"):
        cleaned(tmp_path / "spans.jsonl")
    assert not (tmp_path / "spans.clean.jsonl").exists()


def test_a_run_learns_and_is_judged_without_personal_data(tmp_path: Path) -> None:
    data = [(f"{text} {MAIL}" if n % 2 else text, label) for n, (text, label) in enumerate(rows())]
    source = write(tmp_path / "rows.csv", [*data, ("", MAIL)])
    test = write(tmp_path / "test.csv", [(f"call {PHONE} or {CARD} {n}", "ab"[n % 2]) for n in range(4)])
    splits = load_splits(DataConfig(train=(source,), test=(test,), redact=True), 0)
    used = [*splits.train, *splits.validation, *splits.test]
    assert not [text for row in used for text in texts_of(row) if find(text)]
    assert {row.texts[0] for row in splits.test} == {f"call [PHONE] or [CREDIT_CARD] {n}" for n in range(4)}
    said = "personal data replaced in 34 rows: 30 e-mail addresses, 4 card numbers, 4 telephone numbers"
    assert said in splits.announcements
    plain = load_splits(DataConfig(train=(source,), test=(test,)), 0)
    assert any(find(row.texts[0]) for row in plain.train)
    assert [row.place for row in plain.train] == [row.place for row in splits.train]


def test_spans_of_a_run_move_along(tmp_path: Path) -> None:
    made = [{"text": f"{MAIL} from Jane {n}", "spans": [{"start": 19, "end": 23, "label": "PER"}]} for n in range(30)]
    (tmp_path / "spans.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    splits = load_splits(DataConfig(train=(str(tmp_path / "spans.jsonl"),), redact=True), 0)
    row = splits.train[0]
    assert [row.texts[0][span.start : span.end] for span in row.spans] == ["Jane"]
    assert row.texts[0].startswith("[EMAIL] from")


def test_nothing_found_is_said_too(tmp_path: Path) -> None:
    splits = load_splits(DataConfig(train=(write(tmp_path / "rows.csv", rows()),), redact=True), 0)
    assert "no personal data was found" in splits.announcements


def test_split_files_and_other_formats_hold_none(tmp_path: Path) -> None:
    data = [(f"{text} {MAIL}", label) for text, label in rows()]
    source = write(tmp_path / "rows.csv", data)
    result = split(DataConfig(train=(source,), redact=True), tmp_path / "out")
    assert [left_in(path) for path in result.files.values()] == [[], [], []]
    assert all("[EMAIL]" in Path(path).read_text() for path in result.files.values())
    talk = {"prompt": "mail?", "completion": MAIL}
    (tmp_path / "talks.jsonl").write_text((json.dumps(talk) + "\n") * 5)
    done = convert(DataConfig(train=(str(tmp_path / "talks.jsonl"),), redact=True), "openai")
    assert "firma" not in Path(done.output).read_text()


def test_a_check_finds_it_or_says_that_it_is_replaced(tmp_path: Path) -> None:
    data = [
        *rows(),
        (f"mail {MAIL} and {PHONE}", "a"),
        (f"mail {MAIL} twice", "a"),
        (f"mail {MAIL} twice", "a"),
        (f"{MAIL}", ""),
    ]
    source = write(tmp_path / "rows.csv", data)
    found = {finding.kind: finding for finding in check(DataConfig(train=(source,))).findings}
    assert (found["personal_data"].severity, found["personal_data"].count) == ("warning", 3)
    assert [row.line for row in found["personal_data"].examples] == [62, 63, 64]
    assert "data clean --redact" in found["personal_data"].remedy
    report = check(DataConfig(train=(source,), redact=True))
    replaced = next(finding for finding in report.findings if finding.kind == "personal_data")
    assert (replaced.severity, replaced.examples) == ("info", [])
    assert replaced.message == "personal data is replaced, as asked: 3 e-mail addresses, 1 telephone number"
    assert "firma" not in report.model_dump_json()
