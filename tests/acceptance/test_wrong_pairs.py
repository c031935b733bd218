"""Files of texts that belong together that are wrong: refused with what was found, or counted and listed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.acceptance.each_verb import WORDS, Capture, Faulty, Wrong, assert_faulty, assert_wrong, learning
from tests.acceptance.walk import Refusal, assert_refused, call

EMBEDDINGS = ("--task", "embeddings")
Rows = list[list[str]]


def texts(per_row: int, count: int = 40) -> Rows:
    rng = random.Random(0)
    return [[" ".join(rng.choices(WORDS, k=7)) for _ in range(per_row)] for _ in range(count)]


def table(header: str, rows: Rows) -> str:
    return "".join(f"{line}\n" for line in (header, *map(",".join, rows)))


def pairs(changed: dict[int, tuple[int, str]] | None = None) -> str:
    """Anchors with positives; line -> (column, text) that stands there instead."""
    rows = texts(2)
    for line, (column, text) in (changed or {}).items():
        rows[line - 2][column] = text
    return table("anchor,positive", rows)


def scored(score: dict[int, str], default: str | None = None) -> str:
    """Two texts with a number; line -> what stands there instead."""
    rows = [[*row, score.get(line, default or f"{line % 11 / 10:.1f}")] for line, row in enumerate(texts(2), 2)]
    return table("sentence1,sentence2,score", rows)


FOURTH = texts(2)[3][0]
"""The anchor in line 5."""
NEITHER = "neither texts that belong together nor two texts with a number were found"
WRONG = [
    Wrong(
        "no_positives.csv",
        table("anchor,positive", [[row[0], ""] for row in texts(2)]),
        Refusal("0 usable rows", "no_positives.csv", "dropped: 40 no text in column 'positive'", "mend the rows"),
        check=1,
    ),
    Wrong(
        "all_same.csv",
        table("anchor,positive", [[row[0], row[0]] for row in texts(2)]),
        Refusal("0 usable rows", "all_same.csv", "40 the same text in columns 'anchor' and 'positive'", "mend"),
        check=1,
    ),
    Wrong(
        "one_column.csv",
        table("anchor", texts(1)),
        Refusal(NEITHER, "one_column.csv", "columns: anchor; wanted: anchor and positive", "--text COLUMN"),
        options=EMBEDDINGS,
    ),
    Wrong(
        "labels.csv",
        table("text,label", [[row[0], "ab"[line % 2]] for line, row in enumerate(texts(1))]),
        Refusal(NEITHER, "labels.csv", "columns: text, label", "--text COLUMN --text COLUMN"),
        check=0,
        options=EMBEDDINGS,
    ),
    Wrong(
        "words.csv",
        scored({}, "high"),
        Refusal("0 usable rows", "words.csv", "40 no number in column 'score' (it says 'high')", "mend the rows"),
        check=1,
        options=EMBEDDINGS,
    ),
    Wrong(
        "one_score.csv",
        scored({}, "0.5"),
        Refusal("column 'score' holds one number in all rows", "one_score.csv", "nothing", "--target COLUMN"),
        check=1,
        options=EMBEDDINGS,
    ),
    Wrong(
        "misnamed.csv",
        pairs(),
        Refusal("there is no column 'positiv'", "--text", remedy="did you mean --text positive?"),
        check=0,
        options=(*EMBEDDINGS, "--data.text", "anchor", "--data.text", "positiv"),
    ),
    Wrong(
        "one_anchor.csv",
        table("anchor,positive", [["the same words", row[0]] for row in texts(1)]),
        Refusal("the rows cannot be parted", "one_anchor.csv", "independent of each other", "more rows"),
        check=0,
    ),
    Wrong(
        "few.csv",
        table("anchor,positive", texts(2, 3)),
        Refusal("3 usable rows: too few", "few.csv", "rows to test on", "some dozens of rows"),
        check=1,
    ),
]
FAULTY = [
    Faulty(
        "no_positive.csv",
        pairs({5: (1, "")}),
        "1 rows dropped: no text in column 'positive'",
        ("no_positive.csv,5,no text in column 'positive'",),
        evaluated=39,
        predicted="no text in column 'positive'",
    ),
    Faulty(
        "no_anchor.csv",
        pairs({5: (0, "")}),
        "1 rows dropped: no text in column 'anchor'",
        ("no_anchor.csv,5,no text in column 'anchor'",),
        evaluated=39,
        predicted="no text in column 'anchor'",
    ),
    Faulty(
        "same.csv",
        pairs({5: (1, FOURTH)}),
        "1 rows dropped: the same text in columns 'anchor' and 'positive'",
        ("same.csv,5,the same text in columns 'anchor' and 'positive'",),
        evaluated=39,
    ),
    Faulty(
        "no_negatives.csv",
        table("anchor,positive,negative", [[*row[:2], ""] if row[0] == FOURTH else row for row in texts(3)]),
        "",
        evaluated=40,
    ),
    Faulty(
        "word.csv",
        scored({5: "high", 7: "nan"}),
        "2 rows dropped: no number in column 'score' (it says 'high', 'nan')",
        ("word.csv,5,no number in column 'score' (it says 'high')", "word.csv,7,no number in column 'score'"),
        options=EMBEDDINGS,
        check=1,
    ),
]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A finished run of embeddings, trained with negatives."""
    from feinschliff.cli.main import main

    folder = tmp_path_factory.mktemp("embedder")
    (folder / "good.csv").write_text(table("anchor,positive,negative", texts(3)), encoding="utf-8")
    assert main([*learning("train", str(folder / "good.csv"), tiny_bert), "--output-dir", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_nothing_to_learn(case: Wrong, desk: Path, tiny_bert: Path, capsys: Capture) -> None:
    assert_wrong(case, tiny_bert, capsys)


@pytest.mark.parametrize("case", FAULTY, ids=lambda case: case.name)
def test_goes_on_and_says_so(case: Faulty, desk: Path, tiny_bert: Path, embedder: Path, capsys: Capture) -> None:
    assert_faulty(case, tiny_bert, embedder if case.evaluated else Path("runs/train"), capsys)


def test_negatives_that_are_none_are_counted(desk: Path, tiny_bert: Path, capsys: Capture) -> None:
    """A row's own positive, nothing, or an object in the place of a text."""
    rows = [{"anchor": one, "positive": other, "negative": third} for one, other, third in texts(3)]
    changes = ({"negative": rows[0]["positive"]}, {"negative": ""}, {"negative": {"id": 7}})
    written = [row | changes[number] if number < len(changes) else row for number, row in enumerate(rows)]
    (desk / "rows.jsonl").write_text("\n".join(map(json.dumps, written)), encoding="utf-8")
    trained = call(capsys, *learning("train", "rows.jsonl", tiny_bert))
    assert trained.code == 0, trained
    assert "1 negatives left out: they are their row's own anchor or positive" in trained.err
    assert "3 rows have no negative; texts of other rows stand for it" in trained.err


def test_a_run_needs_both_texts_to_be_judged(desk: Path, embedder: Path, capsys: Capture) -> None:
    """No column is advised for another's place where it has a place of its own."""
    (desk / "anchors.csv").write_text(table("anchor", texts(1)), encoding="utf-8")
    refused = call(capsys, "evaluate", str(embedder), "anchors.csv", "--json")
    assert_refused(refused, Refusal("there is no column 'positive'", "anchors.csv", "trained with it", "its columns"))
    assert len(refused.document["error"]["faults"]) == 1
    assert len(call(capsys, "predict", str(embedder), "--file", "anchors.csv", "--json").document) == 40
    (desk / "labels.csv").write_text(table("text,label", texts(2)), encoding="utf-8")
    for verb in (["evaluate", str(embedder)], ["predict", str(embedder), "--file"]):
        missing = Refusal("there is no column 'anchor'", "labels.csv", "trained with it", "text, label")
        assert_refused(call(capsys, *verb, "labels.csv", "--json"), missing)


@pytest.mark.parametrize("asked", ["", "some words\t"], ids=["nothing", "half a pair"])
def test_empty_texts_have_no_vector(asked: str, desk: Path, embedder: Path, capsys: Capture) -> None:
    outcome = call(capsys, "predict", str(embedder), asked, "--json")
    assert_refused(outcome, Refusal("a text is empty", "text ", remedy="at least a word"))
