"""The page about files of conversations is true: each example is read as the format under whose heading it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.conversation_files import COLUMNS
from feinschliff.data.load import load_examples, open_with_columns
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "chat_formats.md").read_text(encoding="utf-8")
BLOCKS = [
    (section.split("\n", 1)[0], language, block)
    for section in PAGE.split("\n## ")[1:]
    for language, block in re.findall(r"```(\w+)\n(.*?)```", section, flags=re.DOTALL)
]


def test_every_format_has_its_example() -> None:
    assert {name for name, language, _ in BLOCKS if language == "json"} == {*COLUMNS, "Documents"}


@pytest.mark.parametrize(("name", "language", "block"), BLOCKS, ids=[f"{name}-{kind}" for name, kind, _ in BLOCKS])
def test_examples_are_what_they_say(tmp_path: Path, name: str, language: str, block: str) -> None:
    assert block.count("\n") == 4
    file = tmp_path / f"rows.{'jsonl' if language == 'json' else language}"
    file.write_text(block, encoding="utf-8")
    columns = open_with_columns((str(file),), DataConfig())[1]
    kind = "documents" if name == "Documents" else "conversations"
    assert (columns.kind, columns.conversations) == (kind, None if name == "Documents" else name)
    examples, dropped, said = load_examples([str(file)], DataConfig(), columns)
    assert len(examples) == (4 if language == "json" else 3)
    assert not dropped
    assert not any("left out" in note for note in said)
    assert all(bool(example.references) == (kind == "conversations") for example in examples)


def test_columns_of_the_table_are_those_that_are_written() -> None:
    listed = {row[1]: set(re.findall(r"`(\w+)`", row[2])) for row in re.findall(r"(\| `(\w+)` \| (.*?) \|)", PAGE)}
    assert set(listed) == set(COLUMNS)
    for name, columns in listed.items():
        assert columns <= set(COLUMNS[name])
