"""Spans: tokens joined to a text, blanks and overlaps; checked against the plain way to say the same."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from feinschliff.data.spans import Span, in_characters, join_tokens, without_blanks, without_overlaps

SPANS = st.lists(
    st.builds(lambda start, length, label: Span(start, start + length, label), st.integers(0, 20), st.integers(1, 6),
              st.sampled_from("XY")), max_size=10
)  # fmt: skip


@given(st.lists(st.text(max_size=5), max_size=8))
def test_each_token_stands_at_its_range(tokens: list[str]) -> None:
    text, ranges_N2 = join_tokens(tokens)
    assert text == " ".join(tokens)
    assert [text[start:end] for start, end in ranges_N2.tolist()] == tokens


def test_spans_of_tokens_in_characters() -> None:
    text, ranges_N2 = join_tokens(["Angela", "Merkel", "in", "Köln"])
    found = in_characters([Span(0, 2, "PER"), Span(3, 4, "LOC")], ranges_N2)
    assert [(text[span.start : span.end], span.label) for span in found] == [("Angela Merkel", "PER"), ("Köln", "LOC")]


@given(st.text("ab \n\u00a0", max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_blanks_at_the_ends_are_left_out(text: str, start: int, end: int) -> None:
    start, end = min(start, end, len(text)), min(max(start, end), len(text))
    found = without_blanks(Span(start, end, "X"), text)
    assert text[found.start : found.end] == text[start:end].strip()
    assert start <= found.start <= found.end <= end


@given(SPANS)
def test_of_overlapping_spans_the_longer_stay(spans: list[Span]) -> None:
    kept, left_out = without_overlaps(spans)
    assert sorted([*kept, *left_out]) == sorted(spans)
    assert all(one.end <= other.start for one, other in pairwise(kept))
    for span in left_out:
        over = [one for one in kept if one.start < span.end and span.start < one.end]
        assert max(one.end - one.start for one in over) >= span.end - span.start


def test_of_two_equally_long_the_first_given_stays() -> None:
    assert without_overlaps([Span(2, 5, "X"), Span(0, 3, "Y"), Span(2, 5, "Y")])[0] == [Span(2, 5, "X")]
