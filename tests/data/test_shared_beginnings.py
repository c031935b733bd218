"""Rows of one conversation are found: growing, branching; greetings and other instructions make none."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.conversations import Conversation, Message
from feinschliff.data.examples import Example, Place, Splits
from feinschliff.data.load import load_splits
from feinschliff.data.quality import check
from feinschliff.data.shared_beginnings import MOST_CONVERSATIONS, conversation_units, said_of_units
from tests.data.test_load import SUBJECTS, VERBS

PLACE = Place("made-up", 1)


def talk(*said: str, system: str | None = None, begins: int = 0) -> Example:
    """User and assistant in turn; ``begins`` 1: the assistant first."""
    roles = itertools.islice(itertools.cycle(("user", "assistant")), begins, None)
    messages = [Message(role, text) for role, text in zip(roles, said, strict=False)]
    first = [] if system is None else [Message("system", system)]
    return Example(("x",), (), PLACE, conversation=Conversation((*first, *messages)))


def units(*rows: Example) -> list[int]:
    return conversation_units(rows).tolist()


def test_a_growing_conversation_is_one() -> None:
    grown = [talk("a", "b"), talk("q", "r"), talk("a", "b", "c", "d"), talk("a", "b", "c", "d", "e", "f")]
    assert units(*grown) == [0, 1, 0, 0]
    assert units(*reversed(grown)) == [0, 0, 1, 0]
    assert said_of_units(conversation_units(grown))[0].startswith("3 rows are parts of 1 conversations")


def test_branches_of_one_answer_are_one() -> None:
    assert units(talk("a", "b", "c", "d"), talk("a", "b", "x", "y"), talk("a", "z", "c", "d")) == [0, 0, 1]


def test_the_same_question_with_other_instructions_or_answers_is_another() -> None:
    rows = [talk("a", "b"), talk("a", "b", "c", "d", system="s"), talk("a", "z", "c", "d"), talk("a ", " b", "e", "f")]
    assert units(*rows) == [0, 1, 2, 0]


def test_an_answer_to_nobody_is_no_beginning() -> None:
    greeting = "I am a bot. How can I help?"
    assert units(talk(greeting, "a", "b", begins=1), talk(greeting, "c", "d", begins=1)) == [0, 1]
    assert units(talk(greeting, "a", "b", begins=1), talk(greeting, "a", "b", "c", "d", begins=1)) == [0, 0]


def test_a_greeting_makes_no_conversation() -> None:
    greetings = [talk("hi", "hello", f"question {n}", "answer") for n in range(MOST_CONVERSATIONS + 1)]
    grown = talk("hi", "hello", "question 3", "answer", "more", "yes")
    assert units(talk("hi", "hello"), *greetings, grown) == [*range(MOST_CONVERSATIONS + 2), 4]
    assert set(units(talk("hi", "hello"), *greetings[1:])) == {0}


def test_a_long_conversation_told_turn_by_turn_is_no_greeting() -> None:
    said = [f"{who} {n}" for n in range(3 * MOST_CONVERSATIONS) for who in ("asked", "answered")]
    assert set(units(*(talk(*said[:end]) for end in range(2, len(said), 2)))) == {0}


def test_rows_without_conversation_stand_alone() -> None:
    assert units() == []
    assert units(Example(("a",), (), PLACE), Example(("a",), (), PLACE), talk("a")) == [0, 1, 2]
    assert said_of_units(conversation_units([])) == []


def lines_of(talks: list[list[str]]) -> str:
    roles = ("user", "assistant")
    made = [{"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(talk)]} for talk in talks]
    return "".join(json.dumps(row) + "\n" for row in made)


def talks_of(count: int) -> list[list[str]]:
    """Conversations of three turns, no two alike."""

    def asked(n: int, turn: int) -> str:
        return f"{turn} {n} my {SUBJECTS[n % 10]} number {n * 37 + turn} is {VERBS[(n + turn) % 8]} since {n * 11} days"

    return [[text for turn in range(3) for text in (asked(n, turn), f"sorry {n * 13} {turn}")] for n in range(count)]


def sides(splits: Splits) -> dict[str, set[str]]:
    """What was asked first -> the sides on which a row begins so."""
    found: dict[str, set[str]] = {}
    for name, rows in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
        for row in rows:
            assert row.conversation is not None
            found.setdefault(row.conversation.messages[0].content.casefold().rstrip("!"), set()).add(name)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_growing_rows_stay_on_one_side(tmp_path: Path, seed: int) -> None:
    grown = [talk[:end] for talk in talks_of(40) for end in (2, 4, 6)]
    (tmp_path / "grown.jsonl").write_text(lines_of(grown))
    splits = load_splits(DataConfig(train=(str(tmp_path / "grown.jsonl"),)), seed)
    assert {len(names) for names in sides(splits).values()} == {1}
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (84, 12, 24)
    said = "120 rows are parts of 40 conversations that grow or branch: each of these stays on one side"
    assert said in splits.announcements


@pytest.mark.parametrize("seed", range(3))
def test_prompts_that_are_nearly_the_same_stay_on_one_side(tmp_path: Path, seed: int) -> None:
    asked = [talk[0] for talk in talks_of(40)]
    pairs = [[text, f"answer {n}"] for n, text in enumerate(asked)]
    pairs += [[f"{text.upper()}!", f"quite another answer, {n}"] for n, text in enumerate(asked)]
    (tmp_path / "pairs.jsonl").write_text(lines_of(pairs))
    splits = load_splits(DataConfig(train=(str(tmp_path / "pairs.jsonl"),)), seed)
    assert {len(names) for names in sides(splits).values()} == {1}
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 80


def test_training_rows_that_continue_a_test_row_are_dropped(tmp_path: Path) -> None:
    talks = talks_of(30)
    train = tmp_path / "train.jsonl"
    train.write_text(lines_of([talk[:4] for talk in talks[:20]]))
    (tmp_path / "test.jsonl").write_text(lines_of([talks[3], talks[7][:2], *talks[20:]]))
    config = DataConfig(train=(str(train),), test=(str(tmp_path / "test.jsonl"),))
    splits = load_splits(config, 0)
    reasons = {row.line: row.reason for row in splits.dropped}
    start = "another part of the conversation of a held-out row: "
    assert reasons == {4: f"{start}{tmp_path / 'test.jsonl'}:1", 8: f"{start}{tmp_path / 'test.jsonl'}:2"}
    (overlap,) = [finding for finding in check(config).findings if finding.kind == "overlap"]
    assert (overlap.count, [row.line for row in overlap.examples]) == (2, [4, 8])
    assert "or continue there" in overlap.message
    kept = load_splits(config.model_copy(update={"held_out_duplicates": "keep"}), 0)
    assert len(kept.train) + len(kept.validation) == 20


def test_a_check_tells_of_rows_that_begin_alike(tmp_path: Path) -> None:
    talks = talks_of(12)
    (tmp_path / "grown.jsonl").write_text(lines_of([*talks, talks[4][:2], talks[5][:4], talks[6]]))
    found = {finding.kind: finding for finding in check(DataConfig(train=(str(tmp_path / "grown.jsonl"),))).findings}
    shared = found["shared_beginning"]
    assert (shared.severity, shared.count, [row.line for row in shared.examples]) == ("info", 2, [13, 14])
    assert shared.examples[0].note == f"begins as {tmp_path / 'grown.jsonl'}:5 does"
    assert [row.line for row in found["duplicate"].examples] == [15]
