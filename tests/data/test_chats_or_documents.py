"""What files hold for a task that learns from conversations and from documents; and what is said where that is open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.chats_or_documents import chats_or_documents
from feinschliff.data.load import load_splits
from feinschliff.errors import DataError
from tests.data.test_conversation_columns import LONG, OPENAI, always
from tests.data.test_text_rows import written


def found(*sources: str | Path, **changes: Any) -> str:
    return chats_or_documents(DataConfig(train=tuple(map(str, sources)), **changes))


@pytest.fixture
def pages(tmp_path: Path) -> list[Path]:
    """Six files of text, the lines of which make no rows."""
    files = [tmp_path / "pages" / f"{number}.txt" for number in range(6)]
    files[0].parent.mkdir()
    for number, file in enumerate(files):
        file.write_text(f"page {number}\n\nof {number * number} pages\n", encoding="utf-8")
    return files


def test_documents(tmp_path: Path, pages: list[Path]) -> None:
    (tmp_path / "a.md").write_text("# a\n\nwords\n", encoding="utf-8")
    for sources in ([tmp_path / "a.md"], pages, [pages[0]], [tmp_path / "pages"], [*pages, tmp_path / "a.md"]):
        assert found(*sources) == "documents"
    assert found(written(tmp_path / "long.jsonl", {"text": LONG + "{}"})) == "documents"


def test_text_files_are_documents_of_a_run(pages: list[Path]) -> None:
    config = DataConfig(train=tuple(map(str, pages)), near_duplicate_similarity=1.0)
    splits = load_splits(config.model_copy(update={"rows": chats_or_documents(config)}), 0)
    rows = [*splits.train, *splits.validation, *splits.test]
    assert sorted(row.texts[0] for row in rows) == [file.read_text(encoding="utf-8") for file in pages]


def test_conversations(tmp_path: Path) -> None:
    for columns in (
        {"messages": always(OPENAI)},
        {"text": always(OPENAI)},
        {"input": "say {}", "output": "said {}"},
        {"question": LONG, "answer": LONG + "{}"},
    ):
        assert found(written(tmp_path / "a.jsonl", columns)) == "conversations"
    named = written(tmp_path / "a.jsonl", {"a": "say {}", "b": LONG})
    assert found(named, text=("a",), target="b") == "conversations"


def test_what_cannot_be_told_is_refused_with_both_ways(tmp_path: Path) -> None:
    short = written(tmp_path / "short.jsonl", {"text": "short {}"})
    several = written(tmp_path / "several.jsonl", {"title": "t {}", "content": LONG + "{}"})
    for source, changes in ((short, {}), (several, {}), (several, {"text": ("content",)})):
        with pytest.raises(DataError, match="no conversations were found") as caught:
            found(source, **changes)
        assert "--text PROMPT --target ANSWER" in str(caught.value)
        assert str(caught.value).endswith("; to learn texts word by word: --data.rows documents")
    with pytest.raises(DataError, match="no conversations as alpaca"):
        found(written(tmp_path / "text.jsonl", {"text": LONG}), conversations="alpaca")


def test_other_faults_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        found(tmp_path / "nothing.md")
    with pytest.raises(DataError, match="there is no column 'txet'") as caught:
        found(written(tmp_path / "text.jsonl", {"text": LONG + "{}"}), text=("txet",))
    assert "documents" not in str(caught.value)
