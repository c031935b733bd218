"""Files that are written otherwise than those a run learned from: to be predicted, and to be evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.load import load_examples
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound

RUN = ColumnsFound(
    text=["messages"], target=None, kind="conversations", conversations="openai", parts={"tools": "tools"}
)
TALK = [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]


def read(
    path: Path, *rows: dict[str, Any], text: str = "messages", answers: bool = False
) -> tuple[list[list[str]], list[str]]:
    """What is said in each conversation, and the announcements."""
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    columns = RUN.model_copy(update={"text": [text]})
    examples, dropped, said = load_examples([str(file)], DataConfig(), columns, needs_labels=answers)
    assert not dropped
    chats = [example.conversation for example in examples]
    return [[one.content for one in chat.messages] for chat in chats if chat is not None], said


def test_prompts_with_what_they_are_about(tmp_path: Path) -> None:
    row = {"instruction": "add", "input": "2, 2", "output": "4", "source": "x"}
    asked, said = read(tmp_path, row)
    assert asked == [["add\n2, 2", "4"]]
    assert "input in column 'input'" in said
    assert "columns not used: 'source'" in said
    assert read(tmp_path, row, text="instruction")[0] == asked
    assert read(tmp_path, row, answers=True)[0] == asked


def test_prompts_alone_can_be_answered(tmp_path: Path) -> None:
    for text in ("messages", "instruction"):
        asked, said = read(tmp_path, {"instruction": "add", "input": "2, 2", "who": "me"}, text=text)
        assert asked == [["add\n2, 2"]], "what it is about is not lost"
        assert said[-3:] == ["prompts in column 'instruction'", "input in column 'input'", "columns not used: 'who'"]


def test_another_format_of_messages(tmp_path: Path) -> None:
    asked, said = read(tmp_path, {"conversations": TALK, "id": "a"})
    assert asked == [["2 + 2?", "4"]]
    assert "conversations in column 'conversations' (sharegpt: found)" in said
    assert read(tmp_path, {"conversations": TALK}, answers=True)[0] == asked


def test_the_runs_own_format_is_read_as_before(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "2 + 2?"}], "prompt": "no", "completion": "no"}
    asked, said = read(tmp_path, row)
    assert asked == [["2 + 2?"]]
    assert not any("column" in note for note in said)


def test_what_holds_none_is_refused_as_before(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'messages'"):
        read(tmp_path, {"name": "a", "age": 3})
    with pytest.raises(DataError, match="there is no column 'messages'"):
        read(tmp_path, {"instruction": "add", "who": "me"}, answers=True)
