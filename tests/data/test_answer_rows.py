"""Rows to questions with answers: the shapes agree, starts are repaired or told, one text stays on one side."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feinschliff.config.data import DataConfig
from feinschliff.data.answer_rows import MOVED, NEARBY, RECASED, TRIMMED, AnswerReader, located, read_answers
from feinschliff.data.examples import Answer, Example, Place, answer_of
from feinschliff.data.load import load_splits, open_with_columns
from feinschliff.data.quality import check
from feinschliff.data.tables import Row
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound

CONTEXT = "Anna lives in Bonn. Ben lives in Köln."
BONN = Answer(14, 18)
COLUMNS = ColumnsFound(text=["question", "context"], target="answers", kind="answers")


@pytest.mark.parametrize(
    "cells",
    [
        {"answers": {"text": ["Bonn"], "answer_start": [14]}},
        {"answers": {"text": "Bonn", "answer_start": 14}},
        {"answers": [{"text": "Bonn", "answer_start": 14}, {"text": "Bonn", "answer_start": 14}]},
        {"answers": json.dumps({"text": ["Bonn"], "answer_start": [14]})},
        {"answers": "{'text': ['Bonn'], 'answer_start': [14]}"},
        {"answers": "Bonn", "answer_start": "14"},
        {"answers": "Bonn", "answer_start": 14.0, "is_impossible": False},
    ],
)
def test_shapes_agree(cells: dict[str, object]) -> None:
    repairs: Counter[str] = Counter()
    assert read_answers(cells, "answers", CONTEXT, repairs) == (BONN,)
    assert not +repairs


@pytest.mark.parametrize(
    "cells",
    [
        {"answers": {"text": [], "answer_start": []}},
        {"answers": []},
        {"answers": "[]"},
        {"answers": [{"text": "Bonn", "answer_start": 14}], "is_impossible": True},
        {"answers": "", "is_impossible": "True"},
        {"answers": "", "answer_start": "-1"},
    ],
)
def test_no_answer_is_said_in_several_ways(cells: dict[str, object]) -> None:
    assert read_answers(cells, "answers", CONTEXT, Counter()) == ()


@pytest.mark.parametrize(
    ("text", "start", "wanted", "repair"),
    [
        ("Bonn", 0, BONN, MOVED),
        ("Bonn", -3, BONN, MOVED),
        ("Bonn", None, BONN, ""),
        (" Bonn ", 13, BONN, TRIMMED),
        ("bonn", 14, BONN, RECASED),
        ("KÖLN", 33, Answer(33, 37), RECASED),
        ("lives", 22, Answer(24, 29), MOVED),  # stands twice: the one near the start is meant
    ],
)
def test_repairs_are_counted(text: str, start: int | None, wanted: Answer, repair: str) -> None:
    repairs: Counter[str] = Counter()
    context = CONTEXT if text != "lives" else "Anna lives " + "." * (NEARBY + 5) + CONTEXT[20:]
    if text == "lives":
        wanted = Answer(context.rindex("lives"), context.rindex("lives") + 5)
        start = wanted.start - 2
    assert located(text, start, context, repairs) == wanted
    assert ([name for name, count in repairs.items() if count] or [""])[0] == repair


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"answers": {"text": ["Rome"], "answer_start": [14]}}, "does not stand in the text"),
        ({"answers": {"text": ["lives"], "answer_start": [16]}}, "several times"),
        ({"answers": {"text": ["Bonn", "Köln"], "answer_start": [14]}}, "as many starts as answers"),
        ({"answers": {"text": [""], "answer_start": [3]}}, "without text"),
        ({"answers": "Bonn", "answer_start": 1.5}, "no whole number"),
        ({"answers": 7}, "these are no answers"),
        ({"answers": None}, "no answer in column"),
        ({"answers": ""}, "no answer in column"),
        ({}, "no answer in column"),
    ],
)
def test_what_cannot_be_used_says_why(cells: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_answers(cells, "answers", CONTEXT, Counter())


def test_a_wrong_answer_among_right_ones_is_left_out_alone() -> None:
    repairs: Counter[str] = Counter()
    cells = {"answers": [{"text": "Rome", "answer_start": 3}, {"text": "Bonn", "answer_start": 14}]}
    assert read_answers(cells, "answers", CONTEXT, repairs) == (BONN,)
    assert sum(repairs.values()) == 1


@given(st.text(min_size=1, max_size=40), st.data())
def test_an_answer_at_its_start_is_taken_as_it_is(context: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start : data.draw(st.integers(start + 1, len(context)))]
    if text.strip():
        found = located(text, start, context, Counter())
        assert context[found.start : found.end] == text.strip()
        assert start <= found.start <= found.end <= start + len(text)


def test_rows_that_cannot_be_used_are_noted_with_their_place() -> None:
    reader = AnswerReader(COLUMNS)
    cells = [
        {"question": " ", "context": CONTEXT, "answers": []},
        {"question": "Where?", "context": None, "answers": [], "id": "q7"},
        {"question": "Where?", "context": CONTEXT, "answers": [{"text": "Rome", "answer_start": 0}]},
        {"question": "Where?", "context": CONTEXT, "answers": [{"text": "Bonn", "answer_start": 14}], "title": "T"},
    ]
    found = list(reader.read(Row(one, Place("a.json", line)) for line, one in enumerate(cells, 1)))
    assert [(example.place.line, example.group, example.number) for example in found] == [(4, "T", 3)]
    assert answer_of(found[0]) == ("Bonn",)
    assert [row.line for row in reader.dropped] == [1, 2, 3]
    assert reader.dropped[1].reason == "no text in column 'context': id q7"
    assert sum("rows dropped" in said for said in reader.announcements()) == 3


def test_the_text_keeps_its_blanks_and_to_predict_no_answers_are_read() -> None:
    cells: dict[str, object] = {"question": "Where? ", "context": "  Bonn \n"}
    (found,) = AnswerReader(COLUMNS, needs_labels=False).read([Row(cells, Place("a", 1))])
    assert found == Example(("Where?", "  Bonn \n"), (), Place("a", 1), group="  Bonn \n")


def _write(path: Path, num_texts: int) -> Path:
    lines, rng = [], random.Random(0)
    for number in range(num_texts):
        words = ["".join(rng.choices("abcdefgh", k=5)) for _ in range(12)]
        context = f"Town {number} kilometre {' '.join(words)} land."
        for word in ("Town", "kilometre", "land"):
            answer = {"text": [word], "answer_start": [context.index(word)]}
            lines.append({"question": f"Which {word} is it?", "context": context, "answers": answer})
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_questions_of_one_text_are_not_parted(tmp_path: Path) -> None:
    splits = load_splits(DataConfig(train=(str(_write(tmp_path / "a.jsonl", 20)),)), seed=3)
    assert splits.columns.kind == "answers"
    sides = [{example.texts[1] for example in side} for side in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20
    assert all(sides)


def test_questions_of_one_text_are_not_parted_by_groups_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"Who {n}?,Person {n // 2} sang,Person,0,{'xyz'[n % 3]}{n}" for n in range(24)]
    path.write_text("\n".join(["question,context,answer_text,answer_start,team", *rows]))
    splits = load_splits(DataConfig(train=(str(path),), group="team"), seed=0)
    sides = [{example.texts[1] for example in side} for side in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 12


def test_questions_and_answers_without_starts_are_no_such_rows_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,context,answer\nWho?,Ann sang loud,Ann\nWhat?,Ann sang loud,sang\n")
    asked = DataConfig(train=(str(path),), rows="answers")
    assert open_with_columns(asked.train, asked)[1].kind == "answers"
    with pytest.raises(DataError):  # a question, a text and short answers: no label
        load_splits(asked.model_copy(update={"rows": "auto"}), 0)
    bad = DataConfig(train=(str(path),), rows="answers", target="nothing")
    with pytest.raises(DataError, match="no columns of a question"):
        open_with_columns(bad.train, bad)


def test_only_questions_without_answers_are_refused(tmp_path: Path) -> None:
    lines = [
        {"question": f"Who {n}?", "context": f"Nobody {n} knows.", "answers": {"text": [], "answer_start": []}}
        for n in range(9)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = DataConfig(train=(str(tmp_path / "a.jsonl"),))
    with pytest.raises(DataError, match="no question has an answer"):
        load_splits(config, 0)
    assert [finding.kind for finding in check(config).findings if finding.severity == "error"] == ["no_answer"]
