"""Tag schemes: entities are those of seqeval, valid tags survive there and back, the scheme of a file is told."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from feinschliff.data.spans import Span
from feinschliff.data.tag_schemes import Scheme, TagCensus, entities, tag_names, tags_of
from feinschliff.errors import DataError

LETTERS: dict[Scheme, str] = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES"}
AS_SEQEVAL = {"L": "E", "U": "S", "M": "I"}
STRICT = {"IOB1": IOB1, "IOB2": IOB2, "BIOES": IOBES, "BILOU": BILOU}


def any_tags(scheme: Scheme) -> st.SearchStrategy[list[str]]:
    """Rows of tags in any order, most of them against the scheme; types with hyphens, and none."""
    letters = LETTERS[scheme]
    tags = [f"{letter}{kind}" for letter in letters for kind in ("-PER", "-LOC", "-E-mail", "")]
    return st.lists(st.sampled_from([*tags, *["O"] * len(letters)]), max_size=14)


def for_seqeval(tag: str, scheme: Scheme) -> str:
    if scheme == "IO":
        return tag if tag == "O" else f"I-{tag}"
    return AS_SEQEVAL.get(tag[0], tag[0]) + tag[1:]


@st.composite
def entity_rows(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Entities as spans of tokens, in order and apart, some of them touching; and the number of tokens."""
    spans, place = [], 0
    for gap, length, label in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["PER", "LOC", "x-y"])), max_size=6)
    ):
        spans.append(Span(place + gap, place + gap + length, label))
        place += gap + length
    return spans, place + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", LETTERS)
def test_any_sequence_of_tags_is_read_as_seqeval_reads_it(scheme: Scheme) -> None:
    @given(any_tags(scheme))
    def check(tags: list[str]) -> None:
        expected = get_entities([for_seqeval(tag, scheme) for tag in tags])
        assert [(span.label, span.start, span.end - 1) for span in entities(tags, scheme)] == expected

    check()


@given(st.lists(st.sampled_from(["O", "PER", "LOC", "E-mail", "S-Bahn", "B"]), max_size=14))
def test_plain_tags_are_read_as_runs(tags: list[str]) -> None:
    expected = get_entities([for_seqeval(tag, "IO") for tag in tags])
    assert [(span.label, span.start, span.end - 1) for span in entities(tags, "IO")] == expected


@pytest.mark.parametrize("scheme", ["IO", *LETTERS])
def test_entities_survive_there_and_back_and_seqeval_finds_the_tags_valid(scheme: Scheme) -> None:
    @given(entity_rows())
    def check(row: tuple[list[Span], int]) -> None:
        spans, num_tokens = row
        touching = any(a.end == b.start and a.label == b.label for a, b in pairwise(spans))
        assume(scheme != "IO" or not touching)
        tags = tags_of(spans, num_tokens, scheme)
        assert len(tags) == num_tokens
        assert entities(tags, scheme) == spans
        assert set(tags) <= set(tag_names(["PER", "LOC", "x-y"], scheme))
        if scheme in STRICT:
            strict = Entities([tags], STRICT[scheme]).entities[0]
            assert [(one.tag, one.start, one.end) for one in strict] == [(s.label, s.start, s.end) for s in spans]

    check()


def test_entities_without_a_type_keep_their_letters() -> None:
    tags = ["B", "I", "O", "B"]
    assert entities(tags, "IOB2") == [Span(0, 2, "_"), Span(3, 4, "_")]
    assert tags_of(entities(tags, "IOB2"), 4, "IOB2") == tags


def test_a_tag_of_another_scheme_is_named() -> None:
    with pytest.raises(DataError, match="not IOB2: 'PER'"):
        entities(["O", "PER"], "IOB2")


def test_names_of_tags() -> None:
    assert tag_names(["LOC", "PER"], "IOB2") == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert tag_names(["LOC"], "BILOU") == ("O", "B-LOC", "I-LOC", "L-LOC", "U-LOC")
    assert tag_names(["LOC", "PER"], "IO") == ("O", "LOC", "PER")
    assert tag_names(["LOC"], "IOB1") == ("O", "B-LOC", "I-LOC")


def census(*rows: str) -> TagCensus:
    found = TagCensus()
    for row in rows:
        found.add(row.split())
    return found


@pytest.mark.parametrize(
    ("rows", "scheme"),
    [
        (["B-A I-A O", "O B-B"], "IOB2"),
        (["B-A O B-B B-A"], "IOB2"),
        (["I-A I-A O I-B", "I-A B-A I-A"], "IOB1"),
        (["B-A I-A O B-B", "I-A O B-A"], "IOB2"),
        (["O S-A B-A I-A E-A"], "BIOES"),
        (["O B-A E-A"], "BIOES"),
        (["O U-A B-A I-A L-A"], "BILOU"),
        (["S-A O B-A M-A E-A"], "BMES"),
        (["O A A O B-mail", "C A"], "IO"),
        (["NN VB B DT"], "IO"),
        (["B I O", "O B"], "IOB2"),
        (["O O"], "IOB2"),
    ],
)
def test_the_scheme_is_told_from_the_tags(rows: list[str], scheme: str) -> None:
    assert census(*rows).scheme == scheme


@pytest.mark.parametrize("scheme", ["IOB2", "BIOES", "BILOU", "BMES"])
def test_valid_tags_have_nothing_to_repair(scheme: Scheme) -> None:
    rows = [[Span(0, 1, "A"), Span(1, 3, "A"), Span(4, 7, "B")], [Span(0, 3, "B"), Span(5, 6, "B")]]
    found = TagCensus()
    for spans in rows:
        found.add(tags_of(spans, 8, scheme))
    assert found.scheme == scheme
    assert found.labels() == {"B": 3, "A": 2}
    assert found.announcements() == [f"{scheme} tags, 5 entities of 2 types (B 3, A 2)"]


def test_broken_sequences_are_counted() -> None:
    assert census("B-A I-A O I-A", "I-B B-A I-B O B-B", "O B-A B-A").announcements() == [
        "IOB2 tags, 8 entities of 2 types (A 5, B 3)",
        "3 entities begin without B, and are read as if they had it",
    ]
    assert census("S-A O I-A E-A", "B-A O B-A E-A").announcements()[1:] == [
        "1 entities begin without B, and are read as if they had it",
        "1 entities end without E, and are read as if they had it",
    ]
    assert census("I-A I-A O I-B", "O B-A I-B").announcements()[1:] == [
        "1 entities begin with a B that IOB1 has no need of"
    ]
    assert census("B-A I-A X-A O").announcements()[-1] == "1 tags are not IOB2"
    assert census("O O").announcements() == ["every tag is O: there are no entities"]


@given(st.lists(any_tags("BIOES"), max_size=5))
def test_the_census_counts_the_entities_that_are_read(rows: list[list[str]]) -> None:
    found = TagCensus()
    for tags in rows:
        found.add(tags)
    read = [span.label for tags in rows for span in entities(tags, found.scheme)]
    assert found.labels() == {label: read.count(label) for label in read}
