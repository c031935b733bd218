"""What is said of answers: refusals, cut and empty ones, loops, boilerplate, lengths and languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feinschliff.data.answer_endings import cut_surely, ends_in_prose, is_marked
from feinschliff.data.answer_loops import FEWEST_REPEATS, loops_of
from feinschliff.data.answer_texts import answer_findings, answers_of
from feinschliff.data.conversations import Conversation, Message
from feinschliff.data.examples import Example, Place
from feinschliff.data.near_duplicates import words
from feinschliff.data.refusals import refusal_in
from feinschliff.results.data import Finding


def row(answer: str, line: int = 1, prompt: str = "") -> Example:
    return Example((prompt or f"question {line}?",), (), Place("chat.jsonl", line), references=(answer,))


def plain(count: int, start: int = 100) -> list[Example]:
    """Answers with nothing wrong."""
    names = "Ada Bob Cleo Dan Eva Finn Gus Hal Ida Jan".split()  # noqa: SIM905
    return [
        row(f"{names[i % 10]} number {i} went to the market and bought {i} apples for the whole family.", start + i)
        for i in range(count)
    ]


def found(examples: list[Example]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in answer_findings(examples)}


def test_nothing_is_said_of_good_answers_and_of_none() -> None:
    assert found(plain(60)) == {}
    assert found([]) == {}
    assert found([Example(("a text",), ("label",), Place("f", 1))]) == {}


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot comment on this.",
        "Sorry, but I am unable to provide medical advice.",
        "I apologize, but I cannot fulfil this request.",
        "I cannot assist with that request.",
        "I can't help you with this.",
        "As an AI language model, I do not have feelings.",
        "That is a good question! However, as an AI developed by Acme, I don't have opinions.",
        "I am only a large language model and cannot browse the web.",
        "Es tut mir leid, aber dabei kann ich nicht helfen.",
        "Leider kann ich diese Frage nicht beantworten.",
        "Als KI-Sprachmodell habe ich keine Gefühle.",
        "Je suis désolé, mais je ne peux pas vous aider.",
        "En tant que modèle de langage, je n'ai pas d'opinion.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "Mi dispiace, ma non posso aiutarti.",
        "Desculpe, mas não posso ajudar com isso.",
        "Het spijt me, maar ik kan je daar niet mee helpen.",
        "Przykro mi, ale nie mogę w tym pomóc.",
        "Извините, но я не могу помочь с этим.",
        "很抱歉，我无法回答这个问题。",
        "作为一个人工智能语言模型，我没有感情。",
        "申し訳ありませんが、お手伝いできません。",
        "죄송하지만 도와드릴 수 없습니다.",
    ],
)  # fmt: skip
def test_refusals(answer: str) -> None:
    assert refusal_in(answer) is not None


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry to hear that you are ill. Drink much and rest.",
        "I am sorry for the delay. Your parcel will arrive tomorrow.",
        "I can't help but smile when I think of it.",
        "I can't help falling in love with you, he sang.",
        "Unfortunately, the shop is closed on Sundays.",
        "An AI language model predicts the next word.",
        "As an AI researcher, she wrote many papers.",
        "Als KI bezeichnet man Systeme, die lernen.",
        "Leider regnet es heute.",
        "作为人工智能领域的先驱，他写了很多书。",
        "The assistant said: I cannot open the door because it is locked.",
        "",
    ],
)
def test_what_is_no_refusal(answer: str) -> None:
    assert refusal_in(answer) is None


def test_refusals_are_counted_and_shown() -> None:
    finding = found([*plain(30), row("I'm sorry, but I can't do that.", 7)])["refusal"]
    assert (finding.count, finding.severity, finding.examples[0].line) == (1, "warning", 7)
    assert finding.message.startswith("1 of 31 answers refuse")
    assert finding.examples[0].note == "says: i'm sorry, but i can't"


def test_empty_answers_but_not_tool_calls() -> None:
    call = Message("assistant", "", extra={"tool_calls": [{"function": {"name": "f", "arguments": {}}}]})
    messages = (Message("user", "q"), call, Message("tool", "1"), Message("assistant", "  \n"))
    rows = [Example(("q",), (), Place("f", 3), conversation=Conversation(messages))]
    assert found(rows)["empty_answer"].count == 1


def test_answers_are_those_that_are_trained_on() -> None:
    messages = (
        Message("system", "be brief"),
        Message("user", "one?"),
        Message("assistant", "First."),
        Message("user", "two?"),
        Message("assistant", "Second.", weight=0),
        Message("assistant", "Third.", weight=0.5),
    )
    rows = Example(("…",), (), Place("f", 3), references=("Third.",), conversation=Conversation(messages))
    assert [(one.prompt, one.answer) for one in answers_of(rows)] == [("one?", "First."), ("two?", "Third.")]


LONG = "This is how we went to the old market in town"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("Look:\n```python\nprint(1)\n", "a code block is not closed"),
        (f"{LONG} and", "ends with 'and'"),
        (f"{LONG}, and the", "ends with 'the'"),
        (f"{LONG},", "ends with 'town,'"),
        (f"{LONG} to get bread (", "ends with '('"),
        (f"{LONG} on Sun-", "ends with 'Sun-'"),
        ("Wir gingen gestern alle zusammen auf den Markt und", "ends with 'und'"),
        ("Look:\n```python\nprint(1)\n```", None),
        (f"{LONG}.", None),
        ("- one, two, three, four, five, six, seven and", None),
        ("Use the and", None),
        ("", None),
    ],
)
def test_cut_for_sure(answer: str, says: str | None) -> None:
    assert cut_surely(answer) == says


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("It is.", True), ("Is it?", True), ("**Yes!**", True), ('"Yes"', True), ("(as said)", True), ("好。", True),
        ("Great 🎉", True), ("see #travel", True), ("It is", False), ("like this:", False), ("one, ", False),
        ("", True),
    ],
)  # fmt: skip
def test_marks(text: str, marked: bool) -> None:
    assert is_marked(text) == marked


def test_prose_is_neither_list_nor_heading_nor_formula() -> None:
    assert ends_in_prose(LONG)
    assert ends_in_prose("我们昨天一起去了老城区的市场买东西")
    assert not any(ends_in_prose(text) for text in ("", "Paris", f"- {LONG}", f"3. {LONG}", f"| {LONG} |", "x = 1"))


def test_an_end_without_a_mark_is_a_fault_only_where_nearly_all_have_one() -> None:
    finding = found([*plain(40), row(LONG, 5)])["cut_answer"]
    assert (finding.count, finding.examples[0].line, finding.examples[0].note) == (1, 5, "ends without a mark")
    style = [row(f"{LONG} for the {i} time", i) for i in range(20)]
    assert "cut_answer" not in found([*plain(40), *style])
    assert "cut_answer" not in found([*plain(10), row(LONG, 5)])


def test_many_answers_of_exactly_the_greatest_length_are_cut() -> None:
    cut = [row((f"{i} " + "many words about this and that and more of it " * 40)[:1000], i) for i in range(8)]
    finding = found([*plain(100), *cut])["cut_length"]
    assert (finding.count, finding.examples[0].line) == (8, 0)
    assert finding.message.startswith("8 answers have 1,000 characters")
    whole = [row(one.references[0][:-1] + ".", i) for i, one in enumerate(cut)]
    assert "cut_length" not in found([*plain(100), *whole])
    assert "cut_length" not in found([*plain(100), *cut[:3]])
    assert "cut_length" not in found([row("12345678", i) for i in range(50)])


def test_loops() -> None:
    unit = "and then we went home again"
    texts = [
        "so it began: " + f"{unit}. " * 9,
        "fine text " + " ".join(f"word{i}" for i in range(50)),
        "no " * 30,
        "ha ha ha",
        "",
    ]
    assert set(loops_of(texts)) == {0, 2}
    assert sorted(loops_of(texts)[0].split()) == sorted(words(unit))
    assert loops_of(["0 " * 100]) == {}
    assert loops_of([]) == {}
    assert "repetition" in found([*plain(30), row("we are so very happy to be here today, " * 8, 5)])


def slowly(text: str) -> bool:
    """The same by trying every place and period."""
    split = words(text)
    for period in range(1, 41):
        for start in range(len(split)):
            unit = split[start : start + period]
            times = 1
            while split[start + times * period : start + (times + 1) * period] == unit and len(unit) == period:
                times += 1
            rest = split[start + times * period :]
            more = next(
                (i for i, (one, other) in enumerate(zip(rest, unit, strict=False)) if one != other),
                min(len(rest), period),
            )
            if times >= FEWEST_REPEATS and times * period + more >= 24 and any(c.isalpha() for w in unit for c in w):
                return True
    return False


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "1"]), max_size=60).map(" ".join), min_size=1, max_size=4))
def test_loops_are_what_a_slow_search_finds_in_each_text_alone(texts: list[str]) -> None:
    assert set(loops_of(texts)) == {i for i, text in enumerate(texts) if slowly(text)}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(4, 9), st.integers(0, 5))
def test_planted_loops_are_found(period: int, times: int, before: int) -> None:
    unit = " ".join(f"w{i}" for i in range(period))
    text = " ".join([*(f"x{i}" for i in range(before)), *[unit] * times])
    assert bool(loops_of(["other words", text, "more"])) == slowly(text) == (period * times >= 24)


def test_the_same_answer_to_several_prompts() -> None:
    rows = [row("You are very welcome, have a nice day!", i) for i in range(4)]
    rows += [row("Yes.", 10 + i) for i in range(9)]
    rows += [row("One answer that stands twice at one prompt.", 30 + i, prompt="the same") for i in range(5)]
    finding = found([*plain(60), *rows])["same_answer"]
    assert finding.count == 4
    assert finding.severity == "warning"
    assert [example.note for example in finding.examples] == ["answers 4 different prompts"]
    assert found([*plain(900), *rows])["same_answer"].severity == "info"


def test_lengths_far_from_all_others() -> None:
    finding = found([*plain(60), row("word and another one. " * 400, 5)])["answer_length"]
    assert (finding.count, finding.examples[0].line) == (1, 5)
    assert "far longer" in finding.message
    assert finding.examples[0].note == "8,800 characters"
    assert "far shorter" in found([*plain(60), row("No", 6)])["answer_length"].message
    assert "answer_length" not in found(plain(10))


def test_languages_are_counted_and_rows_that_differ_shown() -> None:
    german = row(
        "Das ist eine Antwort, die nicht in der Sprache der anderen ist.", 8, "What is the name of it and why?"
    )
    report = found([*plain(40), german])
    assert (report["language"].count, report["language"].examples[0].line) == (1, 8)
    assert "en 97.6%, de 2.4%" in report["language"].message
    assert report["answer_language"].examples[0].note.startswith("asked in en, answered in de")


def test_gravest_first_and_no_more_than_ten_shown() -> None:
    rows = [*plain(40), *(row("I'm sorry, but I can't do that.", i) for i in range(15)), row("No", 99)]
    findings = answer_findings(rows)
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert len(next(finding for finding in findings if finding.kind == "refusal").examples) == 10


def test_real_sets_have_few_findings(shared_data: Path) -> None:
    """Curated answers: no refusals, hardly a cut one. Machine-written ones: some of each."""
    lines = (shared_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    gsm8k = [row(json.loads(line)["answer"], i) for i, line in enumerate(lines)]
    assert not {"refusal", "cut_answer", "repetition", "empty_answer"} & set(found(gsm8k))
    answers = json.loads((shared_data / "llamafactory_demo" / "alpaca_en_demo.json").read_text(encoding="utf-8"))
    report = found([row(one["output"], i, one["instruction"]) for i, one in enumerate(answers)])
    assert 20 <= report["refusal"].count <= 60
    assert report["cut_answer"].count < 20
    assert "repetition" not in report
