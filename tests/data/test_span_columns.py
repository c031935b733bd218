"""Which tables hold spans or tags: the usual shapes are found, other tasks' files are not taken for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.conll import looks_like_conll
from feinschliff.data.examples import Place
from feinschliff.data.sources import open_tables
from feinschliff.data.span_columns import SpanColumns, looks_like_spans
from feinschliff.data.tables import Row
from feinschliff.errors import DataError

TEXT = "Angela Merkel in Köln"
TOKENS = TEXT.split()
BIO = ["B-PER", "I-PER", "O", "B-LOC"]
DICTS = [{"start": 0, "end": 13, "label": "PER"}, {"start": 17, "end": 21, "label": "LOC"}]


def found(*cells: dict[str, object], target: str | None = None) -> SpanColumns | None:
    names = list(dict.fromkeys(name for row in cells for name in row))
    return looks_like_spans(names, [Row(row, Place("f", n)) for n, row in enumerate(cells, 1)], target)


@pytest.mark.parametrize(
    "spans",
    [
        DICTS,
        [{"begin": 0, "stop": 13, "type": "PER"}],
        [{"start_offset": 0, "end_offset": 13, "entity": "PER", "id": 3}],
        [{"Start": 0, "End": 13, "Tag": "PER"}],
        [[0, 13, "PER"], [17, 21, "LOC"]],
        {"entities": [[0, 13, "PER"]]},
        {"start": [0, 17], "end": [13, 21], "label": ["PER", "LOC"]},
        [{"start": 0, "end": 13, "text": "Angela Merkel", "labels": ["PER"]}],
    ],
)
@pytest.mark.parametrize("name", ["entities", "spans", "labels", "label", "annotations", "my_column"])
def test_texts_with_spans(spans: object, name: str) -> None:
    columns = found({"id": "a", "text": TEXT, name: spans}, {"id": "b", "text": TEXT, name: []})
    assert columns is not None
    assert (columns.text, columns.target, columns.shape) == ("text", name, "spans")
    assert columns.reason == f"texts in column 'text', their spans (start, end, label) in column {name!r}"


@pytest.mark.parametrize(
    ("tags", "name"), [(BIO, "ner_tags"), (BIO, "x"), ([1, 2, 0, 3], "labels"), (["A"] * 4, "tags")]
)
def test_tokens_with_tags(tags: list[object], name: str) -> None:
    columns = found({"text": TEXT, "tokens": TOKENS, name: tags}, {"text": "Ja", "tokens": ["Ja"], name: tags[:1]})
    assert columns is not None
    assert (columns.text, columns.target, columns.shape) == ("tokens", name, "tags")


def test_between_several_columns_names_decide() -> None:
    row = {"tokens": TOKENS, "pos_tags": ["NE", "NE", "IN", "NE"], "chunk_tags": ["B-NP", "I-NP", "B-PP", "B-NP"],
           "ner_tags": BIO}  # fmt: skip
    assert found(row).target == "ner_tags"  # type: ignore[union-attr]
    assert found(row, target="pos_tags").target == "pos_tags"  # type: ignore[union-attr]
    assert found({"text": TEXT, "relations": [[1, 2, "x"]], "entities": DICTS}).target == "entities"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "row",
    [
        {"text": TEXT, "label": "PER"},
        {"text": TEXT, "labels": ["PER", "LOC"]},
        {"text": TEXT, "labels": [0, 1]},
        {"tokens": TOKENS, "labels": ["politics", "travel"]},
        {"text": TEXT, "labels": []},
        {"sentences": ["Angela Merkel in Köln", "She likes it there"], "labels": ["B-claim", "O"]},
        {"text": TEXT, "toxic": [1, 2, 3, 4]},
        {"text": TEXT, "answers": {"text": ["Köln"], "answer_start": [17]}},
        {"audio": "a.wav", "text": TEXT, "segments": [{"start": 0.0, "end": 1.5, "text": "Angela"}]},
        {"text": TEXT, "segments": [{"start": 0, "end": 13}]},
        {"prompt": TEXT, "messages": [{"role": "user", "content": "x"}]},
        {"text": TEXT, "relations": [{"from_id": 1, "to_id": 2, "type": "works_in"}]},
        {"text": TEXT, "triples": [["Merkel", "in", "Köln"]]},
        {"words": TOKENS, "related": ["Bonn", "Rom", "Paris", "Wien"]},
        {"text": TEXT, "choices": ["a", "b"], "tags": ["x", "y"]},
        {"start": 0, "end": 13, "label": "PER", "text": TEXT},
        {"spans": DICTS},
    ],
)
def test_rows_of_other_tasks_are_not(row: dict[str, object]) -> None:
    other = {name: cell[:1] if isinstance(cell, list) and "tokens" in row else cell for name, cell in row.items()}
    assert found(row, other | {"tokens": ["Ja"]} if "tokens" in row else other) is None
    assert found() is None


def test_a_broken_span_is_no_reason_to_see_something_else() -> None:
    rows = [{"text": TEXT, "spans": DICTS} for _ in range(5)]
    assert found(*rows, {"text": TEXT, "spans": [{"start": 1, "end": None}]}, {"text": TEXT, "spans": None}) is not None


def test_real_files_of_other_tasks_are_not(shared_data: Path) -> None:
    """Every table that lies there, and every text file for CoNLL; the files of German legal texts are."""
    looked_at = []
    for path in sorted(shared_data.rglob("*")):
        if path.suffix not in (".csv", ".tsv", ".json", ".jsonl", ".conll", ".txt", ".parquet"):
            continue
        try:
            (table,) = open_tables([str(path)], DataConfig(max_rows=100))
            sample = list(table.read())
        except (DataError, json.JSONDecodeError):
            continue
        expected = path.suffix == ".conll"
        looked_at.append(expected)
        assert (looks_like_spans(table.columns, sample) is not None) == expected, path
        assert looks_like_conll(path, DataConfig()) == expected, path
    assert looked_at.count(True) == 2
    assert looked_at.count(False) > 20
