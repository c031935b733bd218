"""SQuAD's nested files: every question a row, what is broken is told and not lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.load import load_splits, open_with_columns
from feinschliff.data.sources import open_rows, open_tables

ARTICLE = {
    "title": "Towns",
    "paragraphs": [
        {
            "context": "Anna lives in Bonn.",
            "qas": [
                {"id": "a", "question": "Where?", "answers": [{"text": "Bonn", "answer_start": 14}]},
                {"id": "b", "question": "When?", "is_impossible": True, "answers": [], "plausible_answers": [{}]},
            ],
        }
    ],
}


def _file(path: Path, *articles: object, indent: int | None = None) -> DataConfig:
    path.write_text(json.dumps({"version": "v2.0", "data": articles}, indent=indent))
    return DataConfig(train=(str(path),))


@pytest.mark.parametrize("indent", [None, 2])
def test_every_question_is_a_row_with_its_number(tmp_path: Path, indent: int | None) -> None:
    config = _file(tmp_path / "a.json", ARTICLE, ARTICLE, indent=indent)
    rows = list(open_rows(config.train, config))
    assert [(row.place.line, row.cells["id"]) for row in rows] == [(1, "a"), (2, "b"), (3, "a"), (4, "b")]
    assert rows[1].cells["is_impossible"] is True
    (table,) = open_tables(config.train, config)
    assert "counts questions" in " ".join(table.announcements)
    assert open_with_columns(config.train, config)[1].text == ["question", "context"]


def test_rows_are_limited_by_questions(tmp_path: Path) -> None:
    config = _file(tmp_path / "a.json", ARTICLE, ARTICLE).model_copy(update={"max_rows": 3})
    assert len(list(open_rows(config.train, config))) == 3


def test_what_is_broken_inside_is_a_row_that_says_so(tmp_path: Path) -> None:
    broken = [
        {"title": "no paragraphs"},
        {"title": "a text", "paragraphs": "text"},
        {"title": "no questions", "paragraphs": [{"context": "Anna."}, 7]},
        {"title": "no question", "paragraphs": [{"context": "Anna.", "qas": [{"answers": []}, None]}]},
        {"title": "no text", "paragraphs": [{"qas": [{"question": "Who?", "answers": []}]}]},
    ]
    town = ARTICLE["paragraphs"][0]  # type: ignore[index]
    more = [{**ARTICLE, "paragraphs": [{**town, "context": f"Anna lives in Bonn. {n}"}]} for n in "abcdef"]
    more = [{**article, "title": f"T{n}"} for n, article in enumerate(more)]
    splits = load_splits(_file(tmp_path / "a.json", *broken, *more), 0)
    reasons = [row.reason for row in splits.dropped if row.reason.startswith("no text in column")]
    assert len(reasons) == 7
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 12


def test_other_json_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"paragraphs": ["one", "two"], "label": "x"}]))
    config = DataConfig(train=(str(path),))
    assert open_tables(config.train, config)[0].columns == ["paragraphs", "label"]


def test_real_files_are_read_whole(shared_data: Path) -> None:
    for language in ("en", "de"):
        config = DataConfig(train=(str(shared_data / "xquad" / f"xquad.{language}.json"),))
        splits = load_splits(config, seed=0)
        used = [*splits.train, *splits.validation, *splits.test]
        assert len(used) + len(splits.dropped) == 1190
        assert all("exact duplicate" in row.reason for row in splits.dropped)
        assert all(example.answers for example in used)
        titles = [{example.group for example in side} for side in (splits.train, splits.validation, splits.test)]
        assert sum(map(len, titles)) == len(set.union(*titles)) == 48
