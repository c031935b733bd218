"""Rows to texts with spans: the shapes agree, every fault drops its row with a reason, every repair is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.examples import Place
from feinschliff.data.sources import open_tables, read_tables
from feinschliff.data.span_columns import SpanColumns, looks_like_spans
from feinschliff.data.span_rows import SpanReader, read_spans, read_text, with_scheme
from feinschliff.data.spans import Span
from feinschliff.data.tables import Row
from feinschliff.errors import DataError

TEXT = "Angela Merkel in Köln"
PERSON, PLACE = Span(0, 13, "PER"), Span(17, 21, "LOC")
BIO = ["B-PER", "I-PER", "O", "B-LOC"]
SPANS = SpanColumns("text", "spans", "spans")
TAGS = SpanColumns("tokens", "tags", "tags")


@pytest.mark.parametrize(
    "cell",
    [
        [{"start": 0, "end": 13, "label": "PER"}, {"start": 17, "end": 21, "label": "LOC"}],
        [
            {"begin": 17, "stop": 21, "type": "LOC", "text": "köln"},
            {"start_offset": 0, "end_offset": 13.0, "tag": "PER"},
        ],
        [[17, 21, "LOC"], [0, 13, " PER "]],
        {"entities": [[0, 13, "PER"], (17, 21, "LOC")]},
        {"start": [0, 17], "end": [13, 21], "label": ["PER", "LOC"]},
        [{"start": 0, "end": 13, "labels": ["PER"]}, {"start": 17, "end": 21, "entity_group": "LOC"}],
    ],
)
def test_shapes_agree(cell: object) -> None:
    repairs: Counter[str] = Counter()
    assert read_spans({"text": TEXT, "spans": cell}, SPANS, repairs) == (TEXT, (PERSON, PLACE))
    assert not +repairs


def test_tokens_with_tags_give_spans_of_their_text() -> None:
    cells = {"tokens": TEXT.split(), "tags": BIO}
    assert read_spans(cells, TAGS) == (TEXT, (PERSON, PLACE))
    numbers = SpanColumns("tokens", "tags", "tags", names=("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
    assert read_spans({"tokens": TEXT.split(), "tags": [1, 2, 0, 3]}, numbers) == (TEXT, (PERSON, PLACE))
    assert read_spans({"tokens": [2019, "ja"], "tags": ["B-X", "O"]}, TAGS) == ("2019 ja", (Span(0, 4, "X"),))


def test_the_text_is_as_it_is_given() -> None:
    """Blanks at its ends count: otherwise all offsets would be wrong."""
    text = "  Köln \n"
    assert read_spans({"text": text, "spans": [[2, 6, "LOC"]]}, SPANS) == (text, (Span(2, 6, "LOC"),))
    assert read_text({"text": text}, SPANS) == text


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([[0, 99, "X"]], "a span outside the text"),
        ([[-1, 3, "X"]], "a span outside the text"),
        ([[3, 3, "X"]], "a span that ends where it starts, or before"),
        ([[5, 3, "X"]], "a span that ends where it starts, or before"),
        ([[0, 6, ""]], "a span without a label"),
        ([{"start": 0, "end": 6}], "a span without a label"),
        ([{"start": 0, "end": 6, "labels": ["A", "B"]}], "a span with several labels"),
        ([{"start": 0, "label": "X"}], "a span without start and end"),
        ([{"start": 0.5, "end": 6, "label": "X"}], "a span without start and end"),
        ([{"start": True, "end": 6, "label": "X"}], "a span without start and end"),
        (["PER"], "a span without start and end"),
        ([[13, 14, "X"]], "a span of blanks"),
        ([{"start": 0, "end": 5, "label": "X", "text": "Angela"}], "a span does not cover the text that it names"),
        ("PER", "column 'spans' is not a list of spans"),
        (None, "no spans in column 'spans' (an empty list says that there are none)"),
    ],
)
def test_a_fault_drops_the_row_with_its_reason(spans: object, reason: str) -> None:
    reader = SpanReader(SPANS)
    rows = [Row({"text": TEXT, "spans": cell}, Place("f.jsonl", n)) for n, cell in enumerate([[], spans, []], 1)]
    assert [row.place.line for row, _, _ in reader.read(rows)] == [1, 3]
    (dropped,) = reader.dropped
    assert (dropped.file, dropped.line, dropped.text) == ("f.jsonl", 2, TEXT)
    assert reader.announcements() == [f"1 rows dropped: {reason}"]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"tokens": [], "tags": []}, "no tokens in column 'tokens'"),
        ({"tokens": None, "tags": []}, "no tokens in column 'tokens'"),
        ({"tokens": [" ", ""], "tags": ["O", "O"]}, "only blank tokens in column 'tokens'"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, "as many tags as tokens are needed"),
        ({"tokens": ["a", "b"], "tags": ["O", None]}, "a token without a tag in column 'tags'"),
        ({"tokens": ["a", "b"], "tags": ["O", " "]}, "a token without a tag in column 'tags'"),
        ({"tokens": ["a", "b"], "tags": ["O", "PER"]}, "a tag that is not IOB2"),
        ({"tokens": ["a", "b"], "tags": [0, 1]}, "tags that are numbers, without names"),
        ({"tokens": ["a", "b"]}, "no tags in column 'tags'"),
    ],
)
def test_faults_of_tags(cells: dict[str, object], reason: str) -> None:
    reader = SpanReader(TAGS)
    assert list(reader.read([Row(cells, Place("f", 1))])) == []
    assert reader.announcements() == [f"1 rows dropped: {reason}"]


def test_a_number_without_a_name_drops_the_row() -> None:
    reader = SpanReader(SpanColumns("tokens", "tags", "tags", names=("O", "B-X")))
    list(reader.read([Row({"tokens": ["a"], "tags": [-100]}, Place("f", 1))]))
    assert reader.dropped[0].reason == "a tag number outside the 2 names: -100"


def test_rows_without_text() -> None:
    reader = SpanReader(SPANS)
    list(reader.read([Row({"text": cell, "spans": []}, Place("f", 1)) for cell in (None, "", "  ", 7)]))
    assert reader.announcements() == [
        "3 rows dropped: no text in column 'text'",
        "1 rows dropped: a number instead of a text in column 'text'",
    ]


def test_repairs_are_counted() -> None:
    reader = SpanReader(SPANS)
    spans = [[0, 14, "PER"], [0, 6, "FIRST"], [7, 13, "LAST"], [17, 21, "LOC"], [16, 21, "LOC"]]
    ((_, _, found),) = reader.read([Row({"text": TEXT, "spans": spans}, Place("f", 1))])
    assert found == (PERSON, PLACE)
    assert reader.announcements() == [
        "2 spans lost the blanks at their ends",
        "1 spans stood there twice and count once",
        "2 spans were left out: a longer one covers a part of them",
    ]


def test_entities_of_blank_tokens_are_counted() -> None:
    reader = SpanReader(TAGS)
    row = Row({"tokens": ["\u00a0", "Köln", "\u00a0"], "tags": ["B-X", "B-LOC", "I-LOC"]}, Place("f", 1))
    ((_, text, found),) = reader.read([row])
    assert [text[span.start : span.end] for span in found] == ["Köln"]
    assert reader.announcements() == [
        "1 entities were left out: their tokens are blank",
        "1 spans lost the blanks at their ends",
    ]


def test_to_predict_no_spans_are_needed() -> None:
    reader = SpanReader(SPANS, needs_labels=False)
    assert [found[1:] for found in reader.read([Row({"text": TEXT}, Place("f", 1))])] == [(TEXT, ())]
    reader = SpanReader(TAGS, needs_labels=False)
    assert [found[1:] for found in reader.read([Row({"tokens": ["a", "b"]}, Place("f", 1))])] == [("a b", ())]


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["B-PER", "I-PER", "O", "B-LOC"], "IOB2"),
        (["I-PER", "I-PER", "O", "I-LOC"], "IOB1"),
        (["B-PER", "E-PER", "O", "S-LOC"], "BIOES"),
        (["B-PER", "L-PER", "O", "U-LOC"], "BILOU"),
        (["PER", "PER", "O", "LOC"], "IO"),
    ],
)
def test_every_scheme_gives_the_same_spans(tags: list[str], scheme: str) -> None:
    rows = [Row({"tokens": TEXT.split(), "tags": tags}, Place("f", 1))] * 2
    columns, said = with_scheme(TAGS, rows)
    assert columns.scheme == scheme
    assert said[0].endswith("4 entities of 2 types (PER 2, LOC 2)")
    assert [spans for _, _, spans in SpanReader(columns).read(rows)] == [(PERSON, PLACE)] * 2


def test_numbers_need_names() -> None:
    rows = [Row({"tokens": ["a", "b"], "tags": [3, 0]}, Place("f.jsonl", 4))]
    with pytest.raises(DataError) as caught:
        with_scheme(TAGS, rows)
    (fault,) = caught.value.faults
    assert (fault.where, fault.why) == ("f.jsonl:4", "the first is 3")
    assert fault.what == "the tags in column 'tags' are numbers, and nothing says what they mean"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_files(tmp_path: Path, name: str) -> None:
    lines = [
        '{"text": "Angela Merkel in Köln", "entities": [[0, 13, "PER"], [17, 21, "LOC"]]}',
        '{"text": "Ja", "entities": []}',
        '{"text": "Köln", "entities": [[0, 9, "LOC"]]}',
    ]
    text = "\n".join(lines) if name.endswith("l") else "[" + ",\n".join(lines) + "]"
    (tmp_path / name).write_text(text, encoding="utf-8")
    tables = open_tables([str(tmp_path / name)], DataConfig())
    columns = looks_like_spans(tables[0].columns, list(read_tables(tables)))
    assert columns is not None
    assert with_scheme(columns, read_tables(tables)) == (columns, [])
    reader = SpanReader(columns)
    assert [found[1:] for found in reader.read(read_tables(tables))] == [(TEXT, (PERSON, PLACE)), ("Ja", ())]
    assert [(row.line, row.reason) for row in reader.dropped] == [
        (3, "a span outside the text: 0 to 9 of 4 characters")
    ]
