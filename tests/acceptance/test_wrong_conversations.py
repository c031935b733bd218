"""`data convert` with files and options that are wrong: refused with what was found, or counted and listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.each_verb import Capture
from tests.acceptance.walk import Refusal, assert_no_traceback, assert_refused, call

USER, ANSWER = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "so."}
CALL = {"function": {"name": "look", "arguments": "{}"}}
GOOD = json.dumps({"messages": [USER, ANSWER]}) + "\n"
TO_OPENAI = ("--to", "openai", "--output", "out.jsonl")

WRONG = {
    "no_json.jsonl": (
        GOOD + '{"messages": [\n',
        TO_OPENAI,
        Refusal("not a json object", "no_json.jsonl:2", "", "mend"),
    ),
    "lists.jsonl": (GOOD + "[1]\n", TO_OPENAI, Refusal("a list instead of an object", "lists.jsonl:2")),
    "empty.jsonl": ("", TO_OPENAI, Refusal("the file is empty", "empty.jsonl", remedy="give a file with rows")),
    "labels.csv": (
        "text,label\na text,good\n",
        TO_OPENAI,
        Refusal("no conversations were found", "labels.csv", "columns: text, label; wanted: messages", "--text PROMPT"),
    ),
    "asks.jsonl": (
        json.dumps({"messages": [USER]}) + "\n",
        TO_OPENAI,
        Refusal("no row can be written as openai", "asks.jsonl", "1 no message of the assistant", "mend the rows"),
    ),
    "another.jsonl": (
        GOOD,
        (*TO_OPENAI, "--from", "sharegpt"),
        Refusal("no conversations as sharegpt writes them", "another.jsonl", "written as openai writes it", "--text"),
    ),
    "misnamed.jsonl": (
        GOOD,
        (*TO_OPENAI, "--text", "mesages"),
        Refusal("there is no column 'mesages'", "--text", remedy="did you mean --text messages?"),
    ),
    "unheard.jsonl": (GOOD, ("--to", "chatml"), Refusal("there is no format 'chatml'", "--to", remedy="known: openai")),
    "table.jsonl": (
        GOOD,
        ("--to", "sharegpt", "--output", "out.csv"),
        Refusal("sharegpt cannot be written as .csv", "--output", "lists of messages", "ends in .jsonl"),
    ),
    "same.jsonl": (
        GOOD,
        ("--to", "openai", "--output", "same.jsonl", "--overwrite"),
        Refusal("the output is one of the inputs", "same.jsonl", remedy="--output"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_refused(name: str, desk: Path, capsys: Capture) -> None:
    content, options, refusal = WRONG[name]
    (desk / name).write_text(content, encoding="utf-8")
    assert_refused(call(capsys, "data", "convert", name, *options, "--json"), refusal)
    assert [file.name for file in desk.iterdir()] == [name]
    assert (desk / name).read_text(encoding="utf-8") == content


def test_a_file_that_is_not_there(desk: Path, capsys: Capture) -> None:
    (desk / "talks.jsonl").write_text(GOOD, encoding="utf-8")
    refused = call(capsys, "data", "convert", "talk.jsonl", *TO_OPENAI, "--json")
    assert_refused(refused, Refusal("there is no file 'talk.jsonl'", remedy="talks.jsonl"))


def test_wrong_rows_are_listed_with_their_lines(desk: Path, capsys: Capture) -> None:
    wrong = [
        [USER, {**ANSWER, "weight": 7}],
        [USER, {"role": "hero", "content": "x"}],
        [USER, {**ANSWER, "content": None, "tool_calls": [CALL]}],
        [USER, {**ANSWER, "weight": 0.5}],
    ]
    lines = [GOOD, *(json.dumps({"messages": one}) + "\n" for one in wrong)]
    (desk / "talks.jsonl").write_text("".join(lines), encoding="utf-8")
    done = call(capsys, "data", "convert", "talks.jsonl", "--to", "prompt_completion", "-o", "out.csv")
    assert done.code == 0, done
    assert_no_traceback(done)
    assert "2 of 5 rows written to out.csv (openai to prompt_completion)" in done.out
    assert "1 rows left out: an unknown role (it says 'hero')" in done.out
    assert "1 rows lost: weights of messages" in done.out
    dropped = (desk / "out.dropped.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [line.split(",")[1] for line in dropped] == ["2", "3", "4"]
    assert (desk / "out.csv").read_text(encoding="utf-8") == "system,prompt,completion\n,why?,so.\n,why?,so.\n"
    assert "talks.jsonl,5,weights of messages,why?" in (desk / "out.lost.csv").read_text(encoding="utf-8")


def test_one_document_says_what_was_done(desk: Path, capsys: Capture) -> None:
    (desk / "talks.jsonl").write_text(GOOD, encoding="utf-8")
    done = call(capsys, "data", "convert", "talks.jsonl", "--to", "sharegpt", "--json")
    assert done.document["output"] == "talks.sharegpt.jsonl"
    assert (done.document["rows_read"], done.document["rows_written"], done.document["lost_output"]) == (1, 1, None)
