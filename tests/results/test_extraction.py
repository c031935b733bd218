"""Answers taken out of texts, and when two are the same."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feinschliff.results.extraction import (
    after,
    as_number,
    boxed,
    by_pattern,
    choice,
    json_field,
    last_number,
    read_json,
    same_answer,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,000", 1000),
        ("$5.00", 5),
        ("-$5", -5),
        ("$-5", -5),
        ("+7", 7),
        ("−3", -3),
        (" **42**. ", 42),
        ("50%", 50),
        ("3,14", Fraction(157, 50)),
        ("1.234", Fraction(617, 500)),
        ("1.234,56 €", Fraction(30864, 25)),
        ("1.234.567", 1234567),
        ("1 000 000", 1000000),
        ("1\u202f000", 1000),
        ("1'000.5", Fraction(2001, 2)),
        (".5", Fraction(1, 2)),
        ("1e3", 1000),
        ("3/4", Fraction(3, 4)),
        (r"$\frac{3}{4}$", Fraction(3, 4)),
        (r"-\dfrac{1}{2}", Fraction(-1, 2)),
        (r"\text{12}", 12),
        (r"\$18", 18),
        ("１８", 18),
    ],
)
def test_numbers(text: str, number: int | Fraction) -> None:
    assert as_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "-", ".", "abc", "5 eggs", "12/0", "1,00,000", "5²", "1½", "1.2.3", "1e999", "nan", "inf", "0x10", "1 2"],
)
def test_what_is_no_number_or_may_be_two(text: str) -> None:
    assert as_number(text) is None


def test_digits_without_end_are_not_computed() -> None:
    assert as_number("9" * 100_000) is None
    assert as_number("1" * 65) is None


@given(st.integers(-(10**12), 10**12))
def test_every_way_of_writing_an_integer_is_the_integer(number: int) -> None:
    for text in (f"{number}", f"{number:,}", f"${number:,}.00", f"{number}/1", f"**{number}**."):
        assert as_number(text) == number


@settings(max_examples=300)
@given(st.text(max_size=80))
def test_any_text_is_a_number_or_none_and_equals_itself(text: str) -> None:
    assert isinstance(as_number(text), Fraction | None)
    assert same_answer(text, text)
    last_number(text), boxed(text), choice()(text), json_field("a")(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 10-5=5, then 1,234.5.", "1,234.5"),
        ("She has -7 left", "-7"),
        ("答案是18。", "18"),
        ("Es kostet 3,14 Euro", "3,14"),
        ("It is 3/4 of it", "3/4"),
        ("x = -7/2", "-7/2"),
        ("5km", "5"),
        ("1.234,50 €", "1.234,50"),
        ("The total is $1,000,000.", "1,000,000"),
        ("in H2O and x2", None),
        ("none", None),
    ],
)
def test_last_number(text: str, number: str | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B) because it is", "B"),
        ("**D**", "D"),
        ("The answer is B.", "B"),
        ("Option A is wrong. The answer is C", "C"),
        ("Die Antwort lautet B", "B"),
        ("答案是C", "C"),
        ("(A) x\n(B) y\nSo it is (B)", "B"),
        ("thinking\nC", "C"),
        ("B. For (A) is wrong", "B"),
        ("A) x\nB) y\n\nC", "C"),
        (r"\boxed{D}", "D"),
        ("A dog is here", None),
        ("I think so", None),
        ("The answer is a matter of taste", None),
    ],
)
def test_choices(text: str, letter: str | None) -> None:
    assert choice()(text) == letter


def test_only_the_letters_asked_for_are_choices() -> None:
    assert choice("AB")("The answer is C") is None
    assert choice("ABCDEFGH")("The answer is H") == "H"


def test_after_a_mark_boxes_and_patterns() -> None:
    assert after("####")("1 + 1 = 2\n#### 1\n#### 2 \nmore") == "2"
    assert [after("####")(text) for text in ("2", "#### ")] == [None, None]
    assert boxed(r"x \boxed{1} and \boxed{\frac{1}{2}} y") == r"\frac{1}{2}"
    assert [boxed(text) for text in (r"\boxed{1", "1")] == [None, None]
    assert by_pattern(re.compile(r"a(\d)?|c(\d)"))("a1 c2") == "2"
    assert [by_pattern(re.compile("a(b)?"))(text) for text in ("a", "x")] == [None, None]


def test_json_fields() -> None:
    text = 'Sure:\n```json\n{"a": [1, {"b": 2.50}], "c": "x"}\n```\nDone.'
    assert [json_field(path)(text) for path in ("a.1.b", "c", "a.0", "a.7", "d", "c.x")] == [
        "2.5", "x", "1", None, None, None,
    ]  # fmt: skip
    assert json_field("a")('I say {"a": true} now') == "true"
    assert json_field("a")("[" * 100_000) is None


def test_json_is_nothing_but_json() -> None:
    assert read_json(' {"a": 1} ') == {"a": 1}
    for text in ("NaN", '{"a": Infinity}', "{'a': 1}", '{"a": 1} x', "", "[" * 100_000):
        with pytest.raises(ValueError, match=r"not JSON|Expecting|Extra data|deeply"):
            read_json(text)


def test_the_same_as_numbers_or_as_texts() -> None:
    assert same_answer("1,000", "1000.0")
    assert same_answer("1/2", "0.5")
    assert not same_answer("1/3", "0.333")
    assert same_answer('"The  Cat."', "the cat")
    assert same_answer(r"\text{Paris}", "paris")
    assert not same_answer("A", "The")
    assert not same_answer("18", "18 eggs")
