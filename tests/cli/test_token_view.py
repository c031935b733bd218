"""Rows of tokens as they are printed: marks in a pipe, colours on a terminal, nothing that moves a cursor."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from feinschliff.cli.token_view import print_result, visible
from feinschliff.results.data import ColumnsFound
from feinschliff.results.tokens import PlainRow, Refusal, ShowResult, TokenRow, TokenTotals

ROW = TokenRow(
    file="talks.jsonl",
    line=3,
    num_tokens=7,
    num_with_loss=4,
    tokens=["<s>", "why", "?\n", "be", "cause", " so", "<e>"],
    ids=[1, 11, 12, 13, 14, 15, 2],
    weights=[0, 0, 0, 1, 1, 0.25, 1],
)
TOTALS = TokenTotals(
    rows=2, training_rows=2, tokens=14, tokens_with_loss=4, loss_weight=3.25, limit_tokens=64, longest_tokens=7
)
GREEN, DIM, INVERSE, CYAN = "\x1b[1;32m", "\x1b[2m", "\x1b[1;30;42m", "\x1b[36m"


def result_of(*rows: TokenRow, **changes: Any) -> ShowResult:
    columns = ColumnsFound(text=["messages"], target=None, announcements=["a note about the file"])
    found = ShowResult(files=["talks.jsonl"], rows_read=2, columns=columns, shown=list(rows), special_ids=[1, 2])
    return found.model_copy(update={"totals": TOTALS, "loss_on": ["assistant"], **changes})


def printed(result: ShowResult, **settings: Any) -> str:
    out = io.StringIO()
    print_result(Console(file=out, highlight=False, width=80, soft_wrap=True, _environ={}, **settings), result)
    return out.getvalue()


def in_colour(result: ShowResult) -> str:
    return printed(result, force_terminal=True, color_system="truecolor")


def test_marks_in_a_pipe() -> None:
    text = printed(result_of(ROW))
    assert "<s>why?↵\n⟦because⟧⟦0.25: so⟧⟦<e>⟧\n" in text
    assert "── talks.jsonl:3  7 tokens, 4 learned ──" in text
    assert "\x1b" not in text


def test_marks_where_colours_are_not_wanted() -> None:
    assert "⟦because⟧" in printed(result_of(ROW), force_terminal=True, no_color=True)
    assert "⟦because⟧" in printed(result_of(ROW), force_terminal=True, color_system=None)


def test_colours_on_a_terminal() -> None:
    text = in_colour(result_of(ROW))
    assert f"{CYAN}<s>\x1b[0m{DIM}why?↵\x1b[0m\n" in text
    assert f"{GREEN}because\x1b[0m" in text
    assert f"{INVERSE}<e>\x1b[0m" in text
    assert "⟦" not in text


def test_weights_between_have_a_shade_and_a_number() -> None:
    shades = []
    for weight in (0.25, 0.75):
        row = ROW.model_copy(update={"weights": [0, 0, 0, 1, 1, weight, 1]})
        text = in_colour(result_of(row))
        before, _, after = text.partition(f"{weight}:")
        assert before.endswith("\x1b[3;35m")
        shades.append(after.partition(" so")[0].rpartition("\x1b[")[2])
    assert shades[0] != shades[1]
    assert all(shade.startswith("38;2;") for shade in shades)


def test_cuts_and_gaps_are_told() -> None:
    row = ROW.model_copy(update={"borders": [4], "gap": 6, "num_tokens": 1_007})
    assert "⟦be⟧✂\n⟦cause⟧⟦0.25: so⟧\n... 1,000 tokens more ...\n⟦<e>⟧" in printed(result_of(row))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\nb\n", "a↵\nb↵\n"),
        ("a\tb\r", "a⇥b␍"),
        ("\x1b[31mred\x07\x9b", "␛[31mred␇<U+009B>"),
        ("\u202eabc\u200b\ufeff", "<U+202E>abc<U+200B><U+FEFF>"),
        ("👩‍👩‍👧 日本 a\u00a0b", "👩‍👩‍👧 日本 a\u00a0b"),
    ],
)
def test_hidden_characters_are_seen(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_markup_of_the_printer_is_mere_text() -> None:
    row = ROW.model_copy(update={"tokens": ["[bold]", "[/x]", "", "", "", "", ""]})
    assert "[bold][/x]" in printed(result_of(row))


def test_refusals_and_totals() -> None:
    refusal = Refusal(what="4 answers end with no special token", where="talks.jsonl:3", why="so", remedy="do this")
    text = printed(result_of(ROW, refusals=[refusal], left_out={"no message": 1}))
    assert "refused: talks.jsonl:3: 4 answers end with no special token\n  why: so\n  do:  do this\n" in text
    assert "a run on these rows would be refused" in text
    assert "1 left out: no message" in text
    assert "14; 4 carry loss (28.6%, with a weight of 3.25)" in text
    assert "nothing speaks against a run" in printed(result_of(ROW))


def test_plain_rows() -> None:
    plain = PlainRow(file="rows.csv", line=2, values={"text": "two\nlines", "label": "a"}, note="left out: why")
    text = printed(result_of(totals=None, read=[plain]))
    assert "── rows.csv:2 ──\n! left out: why\ntext: two↵\nlines\nlabel: a\n" in text
    assert "nothing speaks against" not in text
