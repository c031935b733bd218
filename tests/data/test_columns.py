"""Columns are found by name and by content, announced, and can be overruled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import cell_labels, cell_text, find_columns, is_missing
from feinschliff.data.examples import Place
from feinschliff.data.sources import open_tables, read_tables
from feinschliff.data.tables import Row
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound

TEXTS = [
    "where is my parcel now",
    "please send me a refund",
    "the card does not work here",
    "thank you for the help",
] * 5


def find(columns: dict[str, Sequence[object]], **config: object) -> ColumnsFound:
    rows = [
        Row(dict(zip(columns, cells, strict=True)), Place("f", number))
        for number, cells in enumerate(zip(*columns.values(), strict=True), 2)
    ]
    return find_columns(list(columns), rows, DataConfig.model_validate(config))


@pytest.mark.parametrize("target", ["label", "Category", "sentiment", "intent", "class", "target", "topic", "rating"])
@pytest.mark.parametrize("text", ["text", "sentence", "Review", "message", "body", "utterance"])
def test_by_name(text: str, target: str) -> None:
    found = find({"id": range(20), target: ["a", "b"] * 10, text: TEXTS})
    assert (found.text, found.target, found.kind) == ([text], target, "single_label")
    assert any("not used" in note and "'id'" in note for note in found.announcements)


@pytest.mark.parametrize("pair", [("sentence1", "sentence2"), ("premise", "hypothesis"), ("question", "answer")])
def test_pairs(pair: tuple[str, str]) -> None:
    found = find({pair[0]: TEXTS, pair[1]: TEXTS[::-1], "label": ["0", "1"] * 10})
    assert found.text == list(pair)


def test_by_content() -> None:
    found = find({"nr": [str(n) for n in range(20)], "what they wrote": TEXTS, "kind": ["x", "y"] * 10})
    assert (found.text, found.target) == (["what they wrote"], "kind")


def test_a_text_name_can_carry_labels() -> None:
    found = find({"question": TEXTS, "subject": ["law", "biology"] * 10})
    assert (found.text, found.target) == (["question"], "subject")
    found = find({"subject": [f"ticket about thing {n}" for n in range(20)], "body": TEXTS, "label": ["a", "b"] * 10})
    assert (found.text, found.target) == (["body"], "label")


def test_several_labels() -> None:
    cells = ["4,27", "4", "27", "1,4", "1", "1,27", "27", "4", "1", "4"] * 2
    found = find({"column_1": TEXTS, "column_2": cells, "column_3": [f"ee{n}x" for n in range(20)]})
    assert (found.target, found.kind, found.label_separator) == ("column_2", "multi_label", ",")
    found = find({"text": TEXTS, "label": [["a"], ["a", "b"]] * 10})
    assert (found.kind, found.label_separator) == ("multi_label", None)
    found = find({"text": TEXTS, "label": ["Paris, France", "Rome, Italy"] * 10})
    assert found.kind == "single_label"
    found = find({"text": TEXTS, "label": ["a/b", "b"] * 10}, label_separator="/")
    assert (found.kind, found.label_separator) == ("multi_label", "/")


def test_asked_for() -> None:
    found = find(
        {"text": TEXTS, "note": TEXTS, "label": ["a", "b"] * 10, "x": ["1", "2"] * 10}, text=("note",), target="x"
    )
    assert (found.text, found.target) == (["note"], "x")


def test_wrong_names_are_told_all_at_once() -> None:
    with pytest.raises(DataError) as caught:
        find({"text": TEXTS, "label": ["a", "b"] * 10}, target="lable", group="customer")
    assert len(caught.value.faults) == 2
    assert "did you mean --target label?" in str(caught.value)
    assert "columns: text, label" in str(caught.value)


def test_no_label_column() -> None:
    with pytest.raises(DataError, match="no label column") as caught:
        find({"text": TEXTS, "remark": [f"quite a long remark number {n}" for n in range(20)]})
    assert "--target" in str(caught.value)
    assert "remark" in str(caught.value)


def test_cells() -> None:
    assert cell_labels([1, 2, 1], None) == ("1", "2")
    assert cell_labels(True, None) == ("true",)
    assert cell_labels(3.0, None) == ("3",)
    assert cell_labels(" a | b|", "|") == ("a", "b")
    assert [is_missing(cell) for cell in (None, float("nan"), "NaN", " ", "null", [], "none", "n/a", 0)] == [
        True
    ] * 6 + [False] * 3
    assert cell_text(" a ") == "a"


@pytest.mark.parametrize(
    ("name", "text", "target", "kind"),
    [
        ("sst2/train.tsv", ["column_1"], "column_2", "single_label"),
        ("banking77/train.csv", ["text"], "category", "single_label"),
        ("goemotions/train.tsv", ["column_1"], "column_2", "multi_label"),
        ("stsb/stsb-en-train.csv", ["column_1", "column_2"], "column_3", "values"),
        ("toxicity_bias_templates/en_sentence_templates.csv", ["phrase"], "toxicity", "single_label"),
    ],
)
def test_real_files(shared_data: Path, name: str, text: list[str], target: str, kind: str) -> None:
    tables = open_tables([str(shared_data / name)], DataConfig())
    found = find_columns(tables[0].columns, list(islice(read_tables(tables), 2000)), DataConfig())
    assert (found.text, found.target, found.kind) == (text, target, kind)
