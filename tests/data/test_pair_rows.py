"""Texts that belong together: the usual names are found, other tasks' files are not taken for them, cells are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.examples import Example, Place
from feinschliff.data.load import load_splits
from feinschliff.data.pair_rows import PairExampleReader, find_pairs
from feinschliff.data.tables import Row
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound

TEXTS = ["where is my parcel today", "it comes tomorrow at noon", "the film was rather long", "cards are free"]


def found(*names: str, label: list[object] | None = None, **config: object) -> ColumnsFound | None:
    rows = [{name: f"{TEXTS[(n + m) % 4]} {n}" for m, name in enumerate(names)} for n in range(20)]
    if label is not None:
        names = (*names, "extra")
        rows = [{**row, "extra": label[n % len(label)]} for n, row in enumerate(rows)]  # type: ignore[dict-item]
    sample = [Row(dict(row), Place("f", n)) for n, row in enumerate(rows, 1)]
    return find_pairs(names, sample, DataConfig.model_validate(config))


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("anchor", "positive"), ["anchor", "positive"]),
        (("id", "Anchor", "Positive", "Negative"), ["Anchor", "Positive", "Negative"]),
        (("query", "pos", "neg"), ["query", "pos", "neg"]),
        (("query", "passage"), ["query", "passage"]),
        (("query", "document", "negative_1", "negative_2"), ["query", "document", "negative_1", "negative_2"]),
        (("question", "positive", "hard_negatives"), ["question", "positive", "hard_negatives"]),
    ],
)
def test_names_that_say_it(names: tuple[str, ...], chosen: list[str]) -> None:
    columns = found(*names)
    assert columns is not None
    assert (columns.text, columns.kind, columns.target) == (chosen, "pairs", None)


@pytest.mark.parametrize("names", [("question", "answer"), ("sentence1", "sentence2"), ("question", "passage")])
def test_names_that_other_tasks_have_too_must_be_asked_for(names: tuple[str, str]) -> None:
    assert found(*names) is None
    columns = found(*names, rows="pairs")
    assert columns is not None
    assert columns.text == list(names)


def test_beside_a_label_only_what_is_called_positive_is() -> None:
    for label in (["yes", "no"], [0, 1, 2], [0.25, 1.75, 3.2]):
        assert found("query", "document", label=label) is None
        assert found("query", "document", label=label, rows="pairs") is None
        assert found("query", "positive", label=label) is not None
    assert found("query", "positive", label=["a", "b"], target="extra") is None


def test_columns_that_are_named_are_taken_where_pairs_are_asked_for() -> None:
    columns = found("left", "right", "wrong", rows="pairs", text=("left", "right", "wrong"))
    assert columns is not None
    assert columns.text == ["left", "right", "wrong"]
    assert found("query", "positive", text=("query",)) is None
    with pytest.raises(DataError, match="did you mean --text right"):
        found("left", "right", rows="pairs", text=("left", "rigth"))


def read(*rows: dict[str, object], names: tuple[str, ...] = ("q", "pos", "neg")) -> tuple[list[Example], list[str]]:
    reader = PairExampleReader(ColumnsFound(text=list(names), target=None, kind="pairs"))
    examples = list(reader.read([Row(row, Place("f", n)) for n, row in enumerate(rows, 1)]))  # type: ignore[arg-type]
    return examples, [row.reason for row in reader.dropped]


def test_lists_of_positives_and_negatives() -> None:
    examples, dropped = read(
        {"q": "a", "pos": ["b", "c"], "neg": ["d", "e", "d", "", "c"]},
        {"q": " f ", "pos": "g", "neg": None},
    )
    assert [example.texts for example in examples] == [("a", "b", "d", "e"), ("a", "c", "d", "e"), ("f", "g")]
    assert [example.number for example in examples] == [0, 0, 1]
    assert dropped == []


def test_rows_that_say_nothing_are_dropped_with_a_reason() -> None:
    examples, dropped = read(
        {"q": "", "pos": "b"}, {"q": "a", "pos": "nan"}, {"q": "a", "pos": "a"}, {"q": "a", "pos": "b"}
    )
    assert len(examples) == 1
    assert dropped == [
        "no text in column 'q'",
        "no text in column 'pos'",
        "the same text in columns 'q' and 'pos'",
    ]


def test_a_split_keeps_the_rows_of_an_anchor_together(tmp_path: Path) -> None:
    lines = [f"anchor number {n // 3} {'abcdefg'[n // 3 % 7] * 5},positive {n} {n * n} {n % 13}\n" for n in range(90)]
    (tmp_path / "rows.csv").write_text("anchor,positive\n" + "".join(lines))
    splits = load_splits(DataConfig(train=(str(tmp_path / "rows.csv"),)), 1)
    sides = [{example.texts[0] for example in side} for side in (splits.train, splits.validation, splits.test)]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert splits.label_names == []


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"a text about {n},x{n % 2}\n" for n in range(30)))
    with pytest.raises(DataError, match="neither texts that belong together nor two texts with a number"):
        load_splits(DataConfig(train=(str(file),), rows="pairs"), 0)


def test_two_texts_with_a_number_are_values(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("sentence1,sentence2,label\n" + "".join(f"a b c {n},d e f {n * 7},{n % 2}\n" for n in range(30)))
    splits = load_splits(DataConfig(train=(str(file),), rows="pairs"), 0)
    assert (splits.columns.kind, splits.columns.text) == ("values", ["sentence1", "sentence2"])
    assert {example.values for example in splits.train} == {(0.0,), (1.0,)}
