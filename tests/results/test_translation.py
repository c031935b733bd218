"""BLEU and chrF against sacrebleu, ROUGE against rouge-score: on the whole and on every resample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from feinschliff.results.intervals import proportion_interval
from feinschliff.results.resampling import value_of
from feinschliff.results.translation import (
    SUMMARY_METRICS,
    TRANSLATION_METRICS,
    summary_figures,
    summary_metrics,
    translation_figures,
    translation_metrics,
)

GOLDS = [
    ["The cat sat on the mat, did it not?", "A cat was sitting on the mat."],
    ["It was 3.14% (roughly) of the budget."],
    ["Straße und Größe, “quoted” — über alles"],
    ["Ja."],
    ["one two three four five six seven"],
]
GIVEN = [
    "The cat sat on a mat, did it?",
    "It was 3.14% of budgets.",
    "Strasse und Größe „quoted“",
    "Ja",
    "seven six one",
]


def sacrebleu_of(golds: list[list[str]], given: list[str]) -> dict[str, float]:
    most = max(len(of_segment) for of_segment in golds)
    streams = [[g[i] if i < len(g) else None for g in golds] for i in range(most)]
    return {
        "bleu": BLEU(force=True).corpus_score(given, streams).score / 100,
        "chrf": CHRF().corpus_score(given, streams).score / 100,
    }


def values(golds: list[list[str]], given: list[str]) -> dict[str, float]:
    return {name: value_of(figure) for name, figure in translation_figures(golds, given).items()}


def test_bleu_and_chrf_equal_sacrebleus() -> None:
    found = translation_metrics(GOLDS, GIVEN, samples=300)
    assert tuple(found) == TRANSLATION_METRICS
    assert {name: m.value for name, m in found.items()} == pytest.approx(sacrebleu_of(GOLDS, GIVEN))
    for name, measure in found.items():
        assert measure.low < measure.value < measure.high, name


def test_in_every_resample_too() -> None:
    rows = np.random.default_rng(0).integers(0, 5, (30, 5))
    counts = np.stack([np.bincount(drawn, minlength=5) for drawn in rows]).astype(float)
    found = {name: figure(counts) for name, figure in translation_figures(GOLDS, GIVEN).items()}
    for i, drawn in enumerate(rows):
        expected = sacrebleu_of([GOLDS[row] for row in drawn], [GIVEN[row] for row in drawn])
        assert {name: drawn_values[i] for name, drawn_values in found.items()} == pytest.approx(expected)


texts = st.lists(st.sampled_from(["the", "cat", "sat", "on", "Mat.", "é", "x-y", "3.14", " "]), max_size=9).map(
    " ".join
)
segments = st.lists(st.tuples(st.lists(texts, min_size=1, max_size=3), texts), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(segments)
def test_any_text(drawn: list[tuple[list[str], str]]) -> None:
    """No match at all, segments shorter than four words, empty ones, several references."""
    golds, given_texts = [golds for golds, _ in drawn], [text for _, text in drawn]
    assert values(golds, given_texts) == pytest.approx(sacrebleu_of(golds, given_texts))


def test_the_tokenizer_can_be_chosen() -> None:
    golds, given_texts = [["我们去公园散步吧"]], ["我们去公园吧"]
    expected = BLEU(tokenize="zh").corpus_score(given_texts, [[golds[0][0]]]).score / 100
    assert value_of(translation_figures(golds, given_texts, "zh")["bleu"]) == pytest.approx(expected)
    assert expected > value_of(translation_figures(golds, given_texts)["bleu"])


ascii_texts = st.lists(
    st.sampled_from(["the", "The", "cat", "cats", "sat-on", "on", "mat.", "a_b", "3.14", "(x)"]), max_size=12
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(ascii_texts, min_size=1, max_size=3), ascii_texts)
def test_rouge_equals_that_of_rouge_score(golds: list[str], text: str) -> None:
    expected = RougeScorer(["rouge1", "rouge2", "rougeL"]).score_multi(golds, text)
    found = [value_of(figure) for figure in summary_figures([golds], [text]).values()]
    assert found == pytest.approx([score.fmeasure for score in expected.values()])


def test_rouge_by_hand_and_beyond_ascii() -> None:
    found = summary_metrics([["the cat sat on the mat"], ["über größe"]], ["the mat sat on", "größe über"], samples=200)
    # First: words the, mat, sat, on of 6 and 4; pairs "the mat", "sat on" of 5 and 3; in order "the sat on".
    assert tuple(found) == SUMMARY_METRICS
    assert [m.value for m in found.values()] == pytest.approx([(8 / 10 + 1) / 2, (4 / 8 + 0) / 2, (6 / 10 + 0.5) / 2])


def test_a_perfect_translation_is_not_certain() -> None:
    golds = [["the cat sat on the mat"], ["the dog ate the cat today"]] * 10
    found = translation_metrics(golds, [g[0] for g in golds], samples=100)
    assert found["bleu"].value == pytest.approx(1.0)
    assert found["chrf"] == proportion_interval(20, 20)
    assert found["bleu"].low < 0.9


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="must match"):
        translation_metrics([["a"]], [])
    with pytest.raises(ValueError, match="at least one reference"):
        summary_metrics([[]], ["a"])
