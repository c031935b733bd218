"""What makes two conversations the same: their words, and what their messages hold besides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.clean import clean
from feinschliff.data.load import load_splits
from feinschliff.data.quality import check

ASKED = {"role": "user", "content": "what is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "it is 4"}
PARTS = [{"type": "text", "text": "it is "}, {"type": "text", "text": "4", "weight": 0.5}]
CALL = {"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
OTHERS = [
    {"messages": [{"role": "user", "content": f"say {n} {n * n}"}, {**ANSWER, "content": f"{n}"}]} for n in range(9)
]
BESIDE: dict[str, list[dict[str, Any]]] = {
    "reasoning_content": [ASKED, {**ANSWER, "reasoning_content": "two and two"}],
    "other reasoning": [ASKED, {**ANSWER, "reasoning_content": "count on"}],
    "thinking": [ASKED, {**ANSWER, "thinking": "two and two"}],
    "reasoning": [ASKED, {**ANSWER, "reasoning": "two and two"}],
    "weight": [ASKED, {**ANSWER, "weight": 0.5}],
    "never learned": [ASKED, {**ANSWER, "weight": 0}],
    "a question's weight": [{**ASKED, "weight": 0.5}, ANSWER],
    "parts": [ASKED, {**ANSWER, "content": PARTS}],
}


def called(number: str) -> list[dict[str, Any]]:
    calls = {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": number}]}
    return [ASKED, calls, {"role": "tool", "content": "4", "tool_call_id": number}, ANSWER]


def rows_of(path: Path, talks: list[list[dict[str, Any]]]) -> DataConfig:
    rows = [*OTHERS, *({"messages": talk} for talk in talks)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataConfig(train=(str(path),))


@pytest.mark.parametrize("kind", BESIDE)
def test_conversations_that_differ_besides_their_words_are_no_duplicates(tmp_path: Path, kind: str) -> None:
    config = rows_of(tmp_path / "a.jsonl", [[ASKED, ANSWER], BESIDE[kind]])
    assert load_splits(config, 0).dropped == []
    assert clean(config).dropped == {}
    assert not [finding for finding in check(config).findings if finding.kind == "duplicate"]


def test_conversations_that_hold_the_same_besides_are_duplicates(tmp_path: Path) -> None:
    talks = [*BESIDE.values(), *BESIDE.values(), called("a"), called("b")]
    config, num_same = rows_of(tmp_path / "a.jsonl", talks), len(BESIDE) + 1
    assert sum(row.reason.startswith("exact duplicate") for row in load_splits(config, 0).dropped) == num_same
    assert sum(clean(config).dropped.values()) == num_same
    assert [one.count for one in check(config).findings if one.kind == "duplicate"] == [num_same]
