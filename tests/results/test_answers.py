"""SQuAD's exact match and F1: what the official script gives, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feinschliff.results.answers import (
    ANSWER_METRICS,
    answer_f1,
    answer_figures,
    answer_metrics,
    best_no_answer_threshold,
    exact_match,
    has_answer,
    normalize_answer,
)
from feinschliff.results.intervals import proportion_interval


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat's (big)\thouse.", "cats big house"),
        ("an A the", ""),
        ("Athena and the theatre", "athena and theatre"),
        ("U.S.A.", "usa"),
        ("the-end", "theend"),  # punctuation goes first: "the" is then no word of its own
        ("l’été à la page", "l’été à la page"),  # only ASCII punctuation; "à" is no article
    ],
)
def test_normalisation(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("golds", "prediction", "exact", "f1"),
    [
        (["Denver Broncos", "the Broncos"], "Broncos!", 1.0, 1.0),
        (["Denver Broncos"], "The Denver Broncos", 1.0, 1.0),
        (["Denver Broncos"], "Broncos of Denver, Colorado", 0.0, 2 * 2 / (2 + 4)),
        (["red red blue"], "red blue blue", 0.0, 2 / 3),  # bags: one red and one blue are shared
        (["one two three", "three"], "three four", 0.0, 2 / 3),  # the best gold answer counts
        (["cat"], "", 0.0, 0.0),
        ([], "", 1.0, 1.0),
        ([], "cat", 0.0, 0.0),
        ([], "the", 1.0, 1.0),  # nothing is left of it
        (["the", "cat"], "a", 0.0, 0.0),  # a gold answer that nothing is left of does not count
        (["the"], "", 1.0, 1.0),
    ],
)
def test_scores_by_hand(golds: list[str], prediction: str, exact: float, f1: float) -> None:
    assert exact_match(golds, prediction) == exact
    assert answer_f1(golds, prediction) == pytest.approx(f1)


words = st.lists(st.sampled_from(["the", "cat", "Cat.", "dog", "a", "big"]), max_size=5).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(words, max_size=3), words)
def test_a_match_is_a_full_f1_and_order_is_all_that_f1_forgives(golds: list[str], prediction: str) -> None:
    f1 = answer_f1(golds, prediction)
    assert 0 <= f1 <= 1
    assert f1 >= exact_match(golds, prediction)
    assert f1 == answer_f1(golds[::-1], " ".join(prediction.split()[::-1]))


def test_metrics_over_both_kinds_of_questions() -> None:
    golds = [["blue cat"]] * 30 + [[]] * 10
    predictions = ["blue cat"] * 20 + ["blue dog"] * 5 + [""] * 5 + [""] * 8 + ["cat"] * 2
    found = answer_metrics(golds, predictions, samples=300)
    assert found["exact_match"] == proportion_interval(28, 40)
    assert found["exact_match_has_answer"] == proportion_interval(20, 30)
    assert found["no_answer_accuracy"] == proportion_interval(8, 10)
    assert found["answer_f1"].value == pytest.approx((20 + 5 / 2 + 8) / 40)
    assert found["answer_f1_has_answer"].value == pytest.approx((20 + 5 / 2) / 30)
    assert found["answer_f1"].low < found["answer_f1"].value < found["answer_f1"].high
    assert tuple(answer_metrics(golds[:30], predictions[:30], samples=100)) == ANSWER_METRICS
    assert tuple(answer_metrics(golds[30:], predictions[30:], samples=100)) == ANSWER_METRICS


def test_the_best_threshold_is_the_best_of_all() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        rows = int(generator.integers(1, 12))
        scores = generator.choice([0.0, 0.5, 1.0], rows)
        no_answer = generator.choice([-1.0, 0.0, 0.3, 2.0], rows)
        answerable = generator.random(rows) < 0.6

        def mean_score(threshold: float) -> float:
            answered = no_answer <= threshold  # noqa: B023
            return float(np.mean(np.where(answered, scores * answerable, ~answerable)))  # noqa: B023

        threshold, best = best_no_answer_threshold(scores, no_answer, answerable)
        assert mean_score(threshold) == pytest.approx(best)
        assert best == pytest.approx(max(mean_score(t) for t in (-2.0, *no_answer)))
        assert np.isfinite(threshold)


def test_questions_and_predictions_must_pair_up() -> None:
    assert has_answer([["a cat"], [], ["the"]]).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="must match"):
        answer_figures([["a"]], [])
