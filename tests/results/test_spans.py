"""Entities against seqeval in its strict mode; counts and borders by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from feinschliff.results.intervals import proportion_interval
from feinschliff.results.resampling import value_of
from feinschliff.results.spans import (
    ENTITY_METRICS,
    Span,
    entity_figures,
    entity_metrics,
    entity_statistic,
    per_label,
    span_counts,
)

SEQEVAL = {"entity_f1": f1_score, "entity_precision": precision_score, "entity_recall": recall_score}
STRICT = {"mode": "strict", "scheme": IOB2, "zero_division": 0}


def tags_of(spans: list[Span], length: int) -> list[str]:
    tags = ["O"] * length
    for start, end, label in spans:
        tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return tags


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[int], list[list[Span]], list[list[Span]]]:
    """Lengths, and for either side spans that do not overlap but may touch."""
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))

    def spans(length: int) -> list[Span]:
        cuts = sorted(draw(st.sets(st.integers(0, length), max_size=length + 1)))
        labels = [draw(st.sampled_from([None, "PER", "ORG", "LOC"])) for _ in cuts[1:]]
        return [(start, end, label) for (start, end), label in zip(pairwise(cuts), labels, strict=True) if label]

    return lengths, [spans(n) for n in lengths], [spans(n) for n in lengths]


@settings(max_examples=150, deadline=None)
@given(sentences())
def test_metrics_equal_seqevals(drawn: tuple[list[int], list[list[Span]], list[list[Span]]]) -> None:
    lengths, references, predictions = drawn
    tags = [[tags_of(s, n) for s, n in zip(side, lengths, strict=True)] for side in (references, predictions)]
    for name, theirs in SEQEVAL.items():
        ours = entity_statistic(name)(references, predictions)
        assert ours == pytest.approx(theirs(*tags, average="micro", **STRICT)), name
    table = per_label(references, predictions)
    if table:
        report = classification_report(*tags, output_dict=True, **STRICT)
        assert [row.label for row in table] == sorted(set(report) - {"micro avg", "macro avg", "weighted avg"})
        for row in table:
            expected = report[row.label]
            assert (row.precision.value, row.recall.value, row.f1, row.support) == pytest.approx(
                (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
            )


def test_counts_by_hand() -> None:
    references = [[(0, 2, "PER"), (4, 5, "LOC")], [(1, 3, "ORG")], []]
    predictions = [[(0, 2, "PER"), (0, 2, "PER"), (3, 5, "LOC")], [(1, 3, "PER")], [(0, 1, "ORG")]]
    counts = span_counts(references, predictions, ["LOC", "ORG", "PER"])
    # Right, predicted, in the references: a span given twice counts once; a border off or another label is wrong.
    assert counts.tolist() == [
        [[0, 1, 1], [0, 0, 0], [1, 1, 1]],
        [[0, 0, 0], [0, 0, 1], [0, 1, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    ]
    found = entity_metrics(references, predictions, samples=200)
    assert tuple(found) == ENTITY_METRICS
    assert [m.value for m in found.values()] == pytest.approx([2 / 7, 1 / 4, 1 / 3])
    per = per_label(references, predictions)[2]
    assert (per.label, per.support, per.predicted, per.f1) == ("PER", 1, 2, pytest.approx(2 / 3))
    assert per.precision == proportion_interval(1, 2)


def corpus(generator: np.random.Generator, sentences: int, right: float) -> tuple[list[list[Span]], list[list[Span]]]:
    """Up to three entities a sentence; in a hard sentence the model is wrong more often."""
    references: list[list[Span]] = []
    predictions: list[list[Span]] = []
    for _ in range(sentences):
        spans = [(3 * i, 3 * i + 2, "PER") for i in range(generator.integers(0, 4))]
        chance = right - 0.2 * (generator.random() < 0.5)
        references.append(spans)
        predictions.append([(a, b if generator.random() < chance else b + 1, label) for a, b, label in spans])
    return references, predictions


def test_intervals_cover_the_truth() -> None:
    """All borders are given and a share of them is right: F1 is that share, 0.9 - 0.1 on average."""
    generator = np.random.default_rng(5)
    inside = 0
    for seed in range(200):
        found = entity_metrics(*corpus(generator, 100, 0.9), samples=300, seed=seed)["entity_f1"]
        inside += found.low <= 0.8 <= found.high
    assert 0.90 <= inside / 200 <= 0.99


def test_a_resample_of_sentences_is_the_metric_of_those_sentences() -> None:
    references, predictions = corpus(np.random.default_rng(6), 50, 0.8)
    rows = np.random.default_rng(7).integers(0, 50, 50)
    counts = np.bincount(rows, minlength=50)[None].astype(float)
    for name, figure in entity_figures(references, predictions).items():
        drawn = entity_figures([references[i] for i in rows], [predictions[i] for i in rows])[name]
        assert figure(counts)[0] == pytest.approx(value_of(drawn)), name


def test_all_right_is_not_certainty_and_sentences_without_spans_do_not_help() -> None:
    references = [[(0, 1, "PER")]] * 10 + [[]] * 90
    found = entity_metrics(references, references, samples=100)
    assert found["entity_f1"] == found["entity_recall"] == proportion_interval(10, 10)


def test_sentences_must_pair_up() -> None:
    with pytest.raises(ValueError, match="must match"):
        entity_metrics([[]], [[], []])
    with pytest.raises(ValueError, match="not empty"):
        entity_metrics([], [])
