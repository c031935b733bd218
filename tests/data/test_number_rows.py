"""Rows of numbers: which columns are read and in which order, and which rows are dropped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feinschliff.config.data import DataConfig
from feinschliff.data.examples import Place
from feinschliff.data.load import load_splits, open_with_columns
from feinschliff.data.number_rows import example_of_text, examples_of_lines, of_numbers
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound


def table(path: Path, header: str, rows: list[str]) -> Path:
    file = path / "rows.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


def asked(file: Path, **changes: object) -> DataConfig:
    return DataConfig.model_validate({"train": (str(file),), "rows": "numbers", **changes})


def found(file: Path, **changes: object) -> ColumnsFound:
    config = asked(file, **changes)
    return open_with_columns(config.train, config)[1]


FLOWERS = [f"{n},{n / 10},{n % 7},{('rose', 'lily')[n % 2]},note {n}" for n in range(40)]
HEADER = "id,length,width,species,remark"


def test_columns_of_numbers_in_the_order_of_the_file(tmp_path: Path) -> None:
    columns = found(table(tmp_path, HEADER, FLOWERS))
    assert (columns.numbers, columns.target, columns.text) == (["length", "width"], "species", [])
    assert "read in this order: length, width" in columns.announcements[0]
    assert "'id', 'remark'" in columns.announcements[-1]


def test_columns_that_are_named_keep_their_order(tmp_path: Path) -> None:
    columns = found(table(tmp_path, HEADER, FLOWERS), text=("width", "id", "length"))
    assert columns.numbers == ["width", "id", "length"]


@pytest.mark.parametrize(
    ("header", "target"),
    [("a,b,c", "c"), ("a,b,Class", "Class"), ("target,b,kind", "target"), ("a,y,c", "c")],
)
def test_the_label_column(header: str, target: str, tmp_path: Path) -> None:
    rows = [f"{n / 10},{n % 3},{'xyz'[n % 3]}" for n in range(30)]
    assert found(table(tmp_path, header, rows)).target == target


def test_labels_that_are_numbers_are_known_by_name(tmp_path: Path) -> None:
    columns = found(table(tmp_path, "a,b,label", [f"{n / 7},{n % 3},{n % 2}" for n in range(30)]))
    assert (columns.numbers, columns.target) == (["a", "b"], "label")


def test_without_a_label_column_one_is_asked_for(tmp_path: Path) -> None:
    file = table(tmp_path, "a,b", [f"{n},{n * n}" for n in range(20)])
    with pytest.raises(DataError, match="--target COLUMN"):
        found(file)
    assert found(file, target="b").numbers == ["a"]


def test_without_numbers_they_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no columns of numbers"):
        found(table(tmp_path, "text,label", [f"word {n},{'ab'[n % 2]}" for n in range(20)]))


def test_a_column_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean --text width"):
        found(table(tmp_path, HEADER, FLOWERS), text=("length", "widht"))


def test_rows_with_holes_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [*FLOWERS, "40,,1,rose,a", "41,2.0,?,rose,b", "42,2.0,1,,c", "43,inf,1,lily,d"]
    splits = load_splits(asked(table(tmp_path, HEADER, rows)), 0)
    reasons = {row.line: row.reason for row in splits.dropped}
    assert reasons == {
        42: "no number in column 'length'",
        43: "no number in column 'width' (it says '?')",
        44: "no label in column 'species'",
        45: "no number in column 'length' (it says 'inf')",
    }
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 40
    assert "1 rows dropped: no number in column 'length'" in splits.announcements


def test_numbers_that_share_words_are_no_duplicates(tmp_path: Path) -> None:
    """-1 and 1, 1.5 and 5.1 have the same words; 1 and 1.0 are the same number."""
    rows = [f"{sign}{n}.5,{n}.{n % 9},{'ab'[n % 2]}" for n in range(20) for sign in ("", "-")]
    splits = load_splits(asked(table(tmp_path, "u,v,label", [*rows, "0.50,0,a"])), 0)
    assert [row.reason.split(":")[0] for row in splits.dropped] == ["exact duplicate of an earlier row"]
    assert not any("kept on one side" in said for said in splits.announcements)


def test_tables_of_numbers_are_no_rows_of_numbers_unless_asked_for(tmp_path: Path) -> None:
    file = table(tmp_path, "length,text,label", [f"{n},some words {n},{'ab'[n % 2]}" for n in range(20)])
    config = DataConfig(train=(str(file),))
    columns = open_with_columns(config.train, config)[1]
    assert (columns.numbers, columns.text) == ([], ["text"])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_what_is_shown_is_not_rounded(values: list[float]) -> None:
    example = of_numbers(tuple(values), (), Place("", 0))
    assert example_of_text(example.texts[0]).numbers == example.numbers


def test_lines_of_numbers() -> None:
    columns = ColumnsFound(text=[], numbers=["a", "b"], target="c")
    lines = examples_of_lines(["1, 2.5", "-1\t2e3", "0.5;7"], columns)
    assert [line.numbers for line in lines] == [(1.0, 2.5), (-1.0, 2000.0), (0.5, 7.0)]
    with pytest.raises(DataError) as refused:
        examples_of_lines(["1", "1,2,3", "1,x", "1,2"], columns)
    assert [fault.where for fault in refused.value.faults] == ["row 1", "row 2", "row 3"]
