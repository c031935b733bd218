"""Sources and texts to be written from them: what is recognised, what stays others', what is dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.load import load_examples, load_splits, open_with_columns
from feinschliff.data.quality import check
from feinschliff.errors import DataError
from feinschliff.lifecycle import held_out
from feinschliff.results.data import ColumnsFound
from feinschliff.store.run_directory import RunDirectory

ROWS = 24


def written(path: Path, columns: dict[str, Any], count: int = ROWS) -> str:
    """A jsonl file; values are templates with the row's number, or functions of it."""
    rows = [{name: v(n) if callable(v) else v.format(n) for name, v in columns.items()} for n in range(count)]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def found(path: Path, columns: dict[str, Any], **changes: Any) -> ColumnsFound:
    source = written(path / "rows.jsonl", columns)
    config = DataConfig(train=(source,), **changes)
    return open_with_columns(config.train, config)[1]


@pytest.mark.parametrize(
    ("columns", "source", "target"),
    [
        (("source", "target"), "source", "target"),
        (("Target", "Source", "id"), "Source", "Target"),
        (("document", "summary", "id"), "document", "summary"),
        (("article", "highlights", "id"), "article", "highlights"),
        (("en", "de"), "en", "de"),
        (("id", "de_DE", "en-US"), "de_DE", "en-US"),
        (("english", "french"), "english", "french"),
    ],
)
def test_names_tell(tmp_path: Path, columns: tuple[str, ...], source: str, target: str) -> None:
    told = found(tmp_path, {name: (lambda n: n) if name == "id" else f"a text {name} {{}}" for name in columns})
    assert (told.kind, told.text, told.target) == ("texts", [source], target)


OTHERS: dict[str, dict[str, Any]] = {
    "classes": {"source": "a text {}", "target": lambda n: ("spam", "ham")[n % 2]},
    "a label beside": {"document": "a text {}", "summary": "short {}", "label": lambda n: ("good", "bad")[n % 2]},
    "numbers": {"source": "a text {}", "target": lambda n: n + 0.5},
    "pairs of embeddings": {"anchor": "a text {}", "positive": "another one {}"},
    "passages": {"query": "words {}", "document": "a text {}"},
    "labelled pairs": {"text_a": "one text {}", "text_b": "two texts {}", "label": lambda n: ("yes", "no")[n % 2]},
    "questions": {
        "question": "what is {}",
        "context": "it is {}",
        "answers": lambda n: {"text": [str(n)], "answer_start": [6]},
    },
}


@pytest.mark.parametrize("kind", OTHERS)
def test_files_of_other_kinds_stay_theirs(tmp_path: Path, kind: str) -> None:
    assert found(tmp_path, OTHERS[kind]).kind != "texts"


def test_names_that_others_have_are_taken_where_such_rows_are_asked_for(tmp_path: Path) -> None:
    columns = {"question": "what is {}", "answer": "it is a thing {}"}
    assert found(tmp_path, columns, rows="texts").text == ["question"]
    with pytest.raises(DataError):
        found(tmp_path, {"input": "say {}", "output": "said well {}"})
    assert found(tmp_path, {"input": "say {}", "output": "said well {}"}, rows="texts").target == "output"
    only = found(tmp_path, {"id": lambda n: n, "question_de": "was {}", "sql": "select {}"}, rows="texts")
    assert (only.text, only.target) == (["question_de"], "sql")


def test_directions_are_said_and_can_be_turned(tmp_path: Path) -> None:
    columns = {"en": "a text {}", "de": "ein Text {}"}
    told = found(tmp_path, columns)
    assert "--text de --target en" in told.announcements[0]
    turned = found(tmp_path, columns, text=("de",), target="en")
    assert (turned.kind, turned.text, turned.target) == ("texts", ["de"], "en")
    assert found(tmp_path, columns, text=("de",)).target == "en"
    assert found(tmp_path, columns, target="en").text == ["de"]


def test_translations_are_laid_flat(tmp_path: Path) -> None:
    cells = {"id": lambda n: n, "translation": lambda n: {"en": f"text {n}", "de": f"Text {n}"}}
    told = found(tmp_path, cells)
    assert (told.text, told.target) == (["en"], "de")
    splits = load_splits(DataConfig(train=(str(tmp_path / "rows.jsonl"),)), 0)
    rows = [*splits.train, *splits.validation, *splits.test]
    assert {row.references[0] for row in rows} == {row.texts[0].replace("text", "Text") for row in rows}
    assert {row.place.line for row in rows} == set(range(1, ROWS + 1))
    assert len(rows) == ROWS


def test_translations_in_parquet_are_laid_flat(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"translation": {"en": f"text {n}", "de": f"Text {n}"}} for n in range(ROWS)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    columns = open_with_columns((str(tmp_path / "rows.parquet"),), DataConfig())[1]
    assert (columns.text, columns.target) == (["en"], "de")


def test_three_languages_need_a_name(tmp_path: Path) -> None:
    cells = {"translation": lambda n: {"en": f"text {n}", "de": f"Text {n}", "fr": f"texte {n}"}}
    with pytest.raises(DataError, match="no columns of a source") as caught:
        found(tmp_path, cells, rows="texts")
    assert "columns: en, de, fr" in str(caught.value)
    assert found(tmp_path, cells, rows="texts", text=("fr",), target="en").text == ["fr"]


def test_rows_without_one_of_both_are_dropped_and_lists_are_references(tmp_path: Path) -> None:
    cells = {
        "source": lambda n: "" if n == 3 else f"a text {n}",
        "target": lambda n: None if n == 5 else [f"one {n}", f"two {n}", f"one {n}"] if n == 7 else f"a target {n}",
    }
    splits = load_splits(DataConfig(train=(written(tmp_path / "rows.jsonl", cells),)), 0)
    assert {(row.line, row.reason) for row in splits.dropped} == {
        (4, "no text in column 'source'"),
        (6, "no text in column 'target'"),
    }
    rows = [*splits.train, *splits.validation, *splits.test]
    assert {row.references for row in rows if row.place.line == 8} == {("one 7", "two 7")}


def test_only_equal_pairs_are_duplicates(tmp_path: Path) -> None:
    """The same source may be written in several ways; they stay on one side of a split."""
    cells = {"source": lambda n: f"a text {n // 2}", "target": lambda n: f"a target {n if n < 20 else 20}"}
    splits = load_splits(DataConfig(train=(written(tmp_path / "rows.jsonl", cells),)), 0)
    sides = {}
    for name, rows in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
        for row in rows:
            assert sides.setdefault(row.texts[0], name) == name
    assert len(splits.dropped) == 2
    report = check(DataConfig(train=(str(tmp_path / "rows.jsonl"),)))
    assert "conflicting_labels" not in {finding.kind for finding in report.findings}
    assert report.label_counts == {}


def test_held_out_rows_come_back(tmp_path: Path) -> None:
    cells = {"source": "a text {}", "target": lambda n: [f"one {n}", f"two {n}"]}
    splits = load_splits(DataConfig(train=(written(tmp_path / "rows.jsonl", cells),)), 0)
    directory = RunDirectory(str(tmp_path / "run"))
    directory.create()
    held_out.write(directory, splits)
    assert [row.references for row in held_out.read(directory)] == [row.references for row in splits.test]


def test_to_predict_sources_are_enough(tmp_path: Path) -> None:
    columns = ColumnsFound(text=["source"], target=None, kind="texts")
    examples, dropped, _ = load_examples(
        [written(tmp_path / "new.jsonl", {"source": "a text {}"}, 3)], DataConfig(), columns, needs_labels=False
    )
    assert [row.texts for row in examples] == [("a text 0",), ("a text 1",), ("a text 2",)]
    assert not dropped
