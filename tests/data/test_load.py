"""From files to the sets of a run: nothing leaves uncounted, the test set stays clean, wrong data is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.load import load_examples, load_splits
from feinschliff.errors import DataError

SUBJECTS = ["parcel", "refund", "card", "account", "transfer", "invoice", "password", "address", "order", "loan"]
VERBS = ["lost", "late", "broken", "missing", "blocked", "wrong", "doubled", "closed"]


def rows(count: int = 60) -> list[tuple[str, str]]:
    return [
        (f"{n} my {SUBJECTS[n % 10]} number {n * 37} is {VERBS[n % 8]} since {n * 11} days", "ab"[n % 2])
        for n in range(count)
    ]


def write(path: Path, lines: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> str:
    path.write_text("".join(",".join(cells) + "\n" for cells in [header, *lines]))
    return str(path)


def load(*train: str, seed: int = 1, **config: object):  # type: ignore[no-untyped-def]
    return load_splits(DataConfig.model_validate({"train": train, **config}), seed)


def test_every_row_is_somewhere(tmp_path: Path) -> None:
    data = [*rows(), ("", "a"), ("some text without label", ""), ("nan", "b"), ("another", "NaN"), rows()[7]]
    splits = load(write(tmp_path / "rows.csv", data))
    used = [*splits.train, *splits.validation, *splits.test]
    assert len(used) == 60
    assert sorted([example.place.line for example in used] + [row.line for row in splits.dropped]) == list(range(2, 67))
    assert {row.line: row.reason.split(" (")[0] for row in splits.dropped} == {
        62: "no text in column 'text'",
        63: "no label in column 'label'",
        64: "no text in column 'text'",
        65: "no label in column 'label'",
        66: f"exact duplicate of an earlier row: {tmp_path / 'rows.csv'}:9",
    }
    assert splits.label_names == ["a", "b"]
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (42, 6, 12)
    assert any("exact duplicates" in note for note in splits.announcements)


def test_the_same_seed_the_same_sets(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", rows())
    one, again, other = (load(path, seed=seed).test for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_near_duplicates_and_groups_stay_together(tmp_path: Path) -> None:
    data = [(text, label, f"c{n // 5}") for n, (text, label) in enumerate(rows())]
    data += [(text.upper() + "!", label, "") for text, label, _ in data]
    splits = load(write(tmp_path / "rows.csv", data, ("text", "label", "customer")), group="customer")
    side = {example.place.line: name for name in ("train", "validation", "test") for example in getattr(splits, name)}
    for line in range(2, 62):
        assert side[line] == side[line + 60]
        assert side[line] == side[(line - 2) // 5 * 5 + 2]


def test_training_rows_that_give_test_rows_away_are_dropped(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", rows())
    held = [
        (rows()[3][0].upper(), "b"),
        (rows()[10][0].replace("since", "for"), "a"),
        (rows()[21][0].replace("my", "a"), "a"),
    ]
    held += [("entirely new words stand here", "a"), ("and here stand some others", "b")]
    splits = load(train, test=[write(tmp_path / "test.csv", held)])
    assert len(splits.test) == 5
    dropped = {row.line: row.reason.split(":")[0] for row in splits.dropped}
    assert dropped == {5: "duplicate of a held-out row", 12: "near duplicate of a held-out row"}
    assert any("give the held-out rows away" in note for note in splits.announcements)


def test_validation_rows_that_give_test_rows_away_are_dropped(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.csv", rows()[:30]), write(tmp_path / "test.csv", rows()[30:40])
    near, other_label = rows()[32][0].replace("since", "for"), (rows()[35][0].replace("since", "for"), "a")
    data = [(rows()[31][0].upper(), "a"), (near, "a"), other_label, *rows()[50:]]
    given: dict[str, object] = {"validation": [write(tmp_path / "dev.csv", data)], "test": [test]}
    splits = load(train, **given)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (30, 11, 10)
    assert {(row.file, row.line): row.reason for row in splits.dropped} == {
        (str(tmp_path / "dev.csv"), 2): f"duplicate of a test row: {test}:3",
        (str(tmp_path / "dev.csv"), 3): f"near duplicate of a test row: {test}:4",
    }
    said = "validation rows dropped that would give the test rows away: "
    assert f"{said}1 duplicate of a test row, 1 near duplicate of a test row" in splits.announcements
    kept = load(train, held_out_duplicates="keep", **given)
    assert (len(kept.validation), kept.dropped) == (13, [])
    assert "2 validation rows repeat test rows and were kept, as asked" in kept.announcements


def test_a_validation_file_that_is_the_test_file(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", rows()[:30])
    dev, test = (write(tmp_path / f"{name}.csv", rows()[30:]) for name in ("dev", "test"))
    with pytest.raises(DataError, match="the validation file repeats the test file") as caught:
        load(train, validation=[dev], test=[test])
    (fault,) = caught.value.faults
    assert fault.where == dev
    assert f"all 30 usable rows stand in {test} too" in (fault.why or "")
    assert "leave --validation out" in (fault.remedy or "")
    assert len(load(train, validation=[dev], test=[test], held_out_duplicates="keep").validation) == 30


def test_given_sets_are_taken_as_they_are(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.csv", rows()[n::3]) for n in range(3)]
    splits = load(paths[0], validation=[paths[1]], test=[paths[2]])
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [20, 20, 20]
    assert splits.test[0].place.file == paths[2]


def test_time_split(tmp_path: Path) -> None:
    data = [(text, label, f"2024-{n // 28 + 1:02d}-{n % 28 + 1:02d}") for n, (text, label) in enumerate(rows())]
    splits = load(write(tmp_path / "rows.csv", data, ("text", "label", "day")), time="day")
    assert min(example.time or "" for example in splits.test) > max(example.time or "" for example in splits.train)


def test_labels_are_trimmed_and_that_is_said(tmp_path: Path) -> None:
    data = [(text, label + " " * (n == 4)) for n, (text, label) in enumerate(rows())]
    splits = load(write(tmp_path / "rows.csv", data))
    assert splits.label_names == ["a", "b"]
    assert "blanks around 1 labels removed" in splits.announcements


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ([("hello there", "a")], ["1 usable row", "too few"]),
        ([(text, "a") for text, _ in rows(9)], ["every row has the label 'a'", "--target"]),
        (
            [*rows(), ("a lonely one here", "c")],
            ["rows.csv:62", "class 'c' has a single row", "--min-rows-per-class 2"],
        ),
        (
            [(text, f"v{n}.{n}") for n, (text, _) in enumerate(rows())],
            ["60 different values", "not a column of classes"],
        ),
        ([("", "a"), ("", "b"), ("x", "")], ["0 usable rows", "no text in column"]),
        ([("one text", "a"), ("two text", "a"), ("three text", "b"), ("four text", "b")], ["cannot be parted"]),
    ],
)
def test_refused(tmp_path: Path, data: list[tuple[str, str]], parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path / "rows.csv", data))
    for part in parts:
        assert part in str(caught.value)


def test_a_label_that_only_the_test_file_has(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", rows())
    test = write(tmp_path / "test.csv", [("new words here", "A"), ("other words there", "zzz"), ("even more", "zzz")])
    with pytest.raises(DataError) as caught:
        load(train, test=[test])
    first, second = caught.value.faults
    assert (first.where, first.remedy) == (f"{test}:2", "write it 'a'")
    assert "'zzz'" in second.what
    assert f"{test}:4" in second.what


def test_a_test_file_without_the_columns(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", rows())
    test = write(tmp_path / "test.csv", rows(5), ("texts", "label"))
    with pytest.raises(DataError, match="no column 'text'") as caught:
        load(train, test=[test])
    assert "rename 'texts' to 'text'" in str(caught.value)


def test_single_row_classes_are_fine_with_an_own_test_file(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", [*rows(), ("a lonely one here", "c")])
    splits = load(train, test=[write(tmp_path / "test.csv", [("new words", "a"), ("also new", "c")])])
    assert "c" in {label for example in splits.train for label in example.labels}


def test_examples_to_evaluate_and_to_predict(tmp_path: Path) -> None:
    splits = load(write(tmp_path / "train.csv", rows()))
    bare = tmp_path / "bare.txt"
    bare.write_text("first text\n\nsecond text\n")
    examples, dropped, _ = load_examples([str(bare)], DataConfig(), splits.columns, needs_labels=False)
    assert [example.texts for example in examples] == [("first text",), ("second text",)]
    assert [(row.line, row.reason) for row in dropped] == [(2, "no text in column 'text'")]
    wrong = write(tmp_path / "wrong.csv", [("a text", "c")])
    with pytest.raises(DataError, match="unknown label 'c'"):
        load_examples([wrong], DataConfig(), splits.columns, known_labels=splits.label_names)


def test_several_labels_and_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [
        f'{{"text": "{text}", "labels": {["[]", "[1]", "[1, 2]", "[2]"][n % 4]}}}' for n, (text, _) in enumerate(rows())
    ]
    path.write_text("\n".join(lines))
    splits = load(str(path))
    assert splits.columns.kind == "multi_label"
    assert splits.label_names == ["1", "2"]
    assert (
        sum(example.labels == () for part in (splits.train, splits.validation, splits.test) for example in part) == 15
    )


def test_real_sets(shared_data: Path) -> None:
    folder = shared_data / "banking77"
    splits = load(str(folder / "train.csv"), test=[str(folder / "test.csv")])
    assert len(splits.test) == 3080
    assert len(splits.label_names) == 77
    assert len(splits.train) + len(splits.validation) + len(splits.dropped) == 10003
