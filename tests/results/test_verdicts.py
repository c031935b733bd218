"""Verdicts: the rule, the sentence, and that the rule keeps its word in simulation."""

import numpy as np
import pytest

from feinschliff.results.measures import Difference, Measure
from feinschliff.results.regression import regression_figures
from feinschliff.results.resampling import FunctionOfSums, MeanOfUnits
from feinschliff.results.spans import entity_figures
from feinschliff.results.verdicts import Evidence, caution, compare, compare_predictions, decide, smallest_gain, verdict


def evidence(value: float, low: float, high: float, p: float, **changes: object) -> Evidence:
    given: dict[str, object] = {
        "metric": "accuracy",
        "tuned": 0.942,
        "baseline": "linear probe",
        "baseline_value": 0.942 - value,
        "difference": Difference(value=value, low=low, high=high, p=p),
        "test_rows": 3080,
        "rows_needed": 8123,
        "method": "McNemar",
    }
    return Evidence(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "p", "word"),
    [
        (0.004, 0.020, 0.003, "ship"),
        (0.0001, 0.020, 0.06, "undecided"),  # interval and test disagree
        (-0.02, -0.004, 0.003, "keep-baseline"),
        (-0.006, 0.006, 0.9, "keep-baseline"),  # a gain of a point is ruled out
        (-0.002, 0.009, 0.2, "keep-baseline"),
        (-0.002, 0.012, 0.2, "undecided"),
        (-0.05, 0.03, 0.5, "undecided"),
    ],
)
def test_the_rule(low: float, high: float, p: float, word: str) -> None:
    assert decide(Difference(value=(low + high) / 2, low=low, high=high, p=p)) == word


def test_ship_says_by_how_much_and_how_sure() -> None:
    found = verdict(evidence(0.012, 0.004, 0.020, 0.003))
    assert found.verdict == "ship"
    assert found.rows_needed is None
    assert found.sentence == (
        "Ship it: 94.2% against 93.0% for the linear probe on 3,080 test rows "
        "(+1.2 points, 95% interval 0.4 to 2.0, p = 0.003)."
    )


def test_undecided_says_how_many_rows_would_do() -> None:
    found = verdict(evidence(0.02, -0.05, 0.09, 0.58, test_rows=80, rows_needed=391))
    assert found.verdict == "undecided"
    assert found.rows_needed == 391
    assert found.sentence == (
        "Cannot tell with 80 test rows: 94.2% against 92.2% for the linear probe "
        "(+2.0 points, 95% interval -5.0 to 9.0, p = 0.58); "
        "about 400 rows would be needed to see a difference of this size."
    )
    assert verdict(evidence(0.0, -0.03, 0.03, 1.0, rows_needed=None)).sentence.endswith("p = 1.00).")


def test_rows_to_see_a_point_are_named_where_the_observed_difference_is_smaller() -> None:
    references = np.ones(80, dtype=int)
    same = references.copy()
    same[:8] = 0
    for metric in ("accuracy", "macro_f1"):
        found = verdict(compare_predictions(metric, "linear_probe", references, same, same[::-1].copy(), 2))
        assert found.verdict == "undecided", metric
        assert "for the linear probe (" in found.sentence
        assert found.sentence.endswith("rows would be needed to see a gain of one point.")
        assert found.rows_needed is not None
        assert found.rows_needed > 1000, metric
    # Without any discordant row, one in a hundred is assumed: (1.960 * 0.1 + 0.842 * 0.0995)^2 / 0.0001 = 783.
    assert compare_predictions("accuracy", "probe", references, same, same, 2).rows_needed == 783


def test_keep_baseline_says_why() -> None:
    worse = verdict(evidence(-0.012, -0.020, -0.004, 0.003)).sentence
    assert worse.startswith("Keep the linear probe, tuning made it worse: 94.2% against 95.4%")
    assert "(-1.2 points, 95% interval -2.0 to -0.4" in worse
    assert "a gain worth having is ruled out" in verdict(evidence(0.001, -0.004, 0.006, 0.7)).sentence


def test_other_metrics_are_named_and_written_in_their_own_unit() -> None:
    assert "macro F1 94.2%" in verdict(evidence(0.012, 0.004, 0.02, 0.003, metric="macro_f1")).sentence
    found = verdict(evidence(0.012, 0.004, 0.02, 0.003, metric="mcc", confidence=0.9)).sentence
    assert "Matthews correlation 0.942 against 0.930" in found
    assert "(+0.012, 90% interval 0.004 to 0.020" in found


def test_a_bound_that_rounds_to_zero_shows_its_side() -> None:
    assert "interval 0.04 to 2.0" in verdict(evidence(0.01, 0.0004, 0.02, 0.04)).sentence


def test_accuracy_takes_mcnemar_and_f1_the_bootstrap() -> None:
    generator = np.random.default_rng(0)
    references = generator.integers(0, 3, 600)
    ours = np.where(generator.random(600) < 0.95, references, 0)
    theirs = np.where(generator.random(600) < 0.80, references, 0)
    for metric, method in (("accuracy", "McNemar"), ("macro_f1", "bootstrap")):
        found = compare_predictions(metric, "linear probe", references, ours, theirs, 3, samples=300)
        assert method in found.method
        assert found.tuned - found.baseline_value == pytest.approx(found.difference.value)
        assert verdict(found).verdict == "ship"
    several = compare_predictions(
        "micro_f1", "majority class", np.eye(3, dtype=bool)[references], np.eye(3, dtype=bool)[ours],
        np.eye(3, dtype=bool)[theirs], 3, samples=300,
    )  # fmt: skip
    assert several.difference.low > 0


def test_equal_models_are_rarely_shipped_and_better_ones_mostly_are() -> None:
    generator = np.random.default_rng(4)

    def words(ours: float, rows: int) -> list[str]:
        found = []
        for _ in range(300):
            kind = generator.choice(4, size=rows, p=[0.85, ours, 0.04, 0.11 - ours])
            references = np.ones(rows, dtype=int)
            predicted = (kind < 2).astype(int), ((kind == 0) | (kind == 2)).astype(int)
            found.append(verdict(compare_predictions("accuracy", "probe", references, *predicted, 2)).verdict)
        return found

    assert words(ours=0.04, rows=400).count("ship") <= 300 * 0.05
    assert words(ours=0.08, rows=1000).count("ship") >= 300 * 0.9
    assert words(ours=0.02, rows=2000).count("ship") == 0
    assert words(ours=0.04, rows=40).count("undecided") >= 300 * 0.85


def test_of_errors_less_is_better_and_the_sentence_says_less() -> None:
    less = {"metric": "rmse", "tuned": 0.412, "baseline_value": 0.4551}
    found = verdict(evidence(0.0431, 0.0304, 0.0562, 0.0004, **less))
    assert found.verdict == "ship"
    assert found.sentence == (
        "Ship it: RMSE 0.4120 against 0.4551 for the linear probe on 3,080 test rows "
        "(0.0431 less, 95% interval 0.0304 to 0.0562, p < 0.001)."
    )
    more = {"metric": "mae", "tuned": 1312.5, "baseline_value": 1200.0}
    assert verdict(evidence(-112.5, -200.0, -25.0, 0.01, **more)).sentence == (
        "Keep the linear probe, tuning made it worse: mean absolute error 1,312 against 1,200 for the linear probe "
        "on 3,080 test rows (112 more, 95% interval 25.0 to 200, p = 0.010)."
    )
    undecided = verdict(evidence(2.0, -30.0, 34.0, 0.9, **more)).sentence
    assert "(2.00 less, 95% interval -30.0 to 34.0, p = 0.90)" in undecided
    assert undecided.endswith("would be needed to see a gain of one percent.")


def test_the_smallest_gain_is_in_the_metrics_own_unit() -> None:
    assert smallest_gain("accuracy", 0.9) == smallest_gain("pearson", 0.5) == smallest_gain("bleu", 0.3) == 0.01
    assert smallest_gain("rmse", 250.0) == 2.5
    # One percent of 250 is ruled out; half a unit is neither here nor there for a metric of such size.
    errors = {"metric": "rmse", "tuned": 250.0, "baseline_value": 250.0}
    assert verdict(evidence(0.0, -2.0, 2.0, 1.0, **errors)).verdict == "keep-baseline"
    assert verdict(evidence(0.0, -3.0, 3.0, 1.0, **errors)).verdict == "undecided"


def test_correlations_and_scores_of_a_hundred_are_written_as_their_fields_do() -> None:
    values = {"metric": "pearson", "tuned": 0.870, "baseline_value": 0.858}
    found = verdict(evidence(0.012, 0.004, 0.020, 0.003, **values)).sentence
    assert "Ship it: Pearson correlation 0.870 against 0.858" in found
    assert "(+0.012, 95% interval 0.004 to 0.020" in found
    values = {"metric": "bleu", "tuned": 0.324, "baseline_value": 0.324}
    found = verdict(evidence(0.0, -0.05, 0.06, 0.9, **values)).sentence
    assert "BLEU 32.4 against 32.4" in found
    assert "(0.0 points, 95% interval -5.0 to 6.0" in found
    assert found.endswith("to see a gain of one point.")
    assert "entity F1 94.2% against" in verdict(evidence(0.01, 0.001, 0.02, 0.01, metric="entity_f1")).sentence


def test_any_figures_are_compared() -> None:
    generator = np.random.default_rng(1)
    references = generator.normal(100, 15, 500)
    ours, theirs = references + generator.normal(0, 5, 500), references + generator.normal(0, 8, 500)
    figures = regression_figures(references, ours), regression_figures(references, theirs)
    for metric in ("pearson", "spearman", "r2", "rmse", "mae"):
        found = compare(metric, "mean_of_training", figures[0][metric], figures[1][metric], samples=500)
        assert found.method == "paired bootstrap, 500 resamples"
        assert found.test_rows == 500
        sign = -1 if metric in ("rmse", "mae") else 1
        assert sign * (found.tuned - found.baseline_value) == pytest.approx(found.difference.value)
        assert found.difference.low > 0, metric
        assert verdict(found).verdict == "ship", metric
        turned = compare(metric, "mean_of_training", figures[1][metric], figures[0][metric], samples=500)
        assert verdict(turned).verdict == "keep-baseline", metric
    assert "RMSE" in verdict(compare("rmse", "probe", figures[0]["rmse"], figures[1]["rmse"])).sentence


def test_shares_of_right_units_take_mcnemar_and_equal_the_comparison_of_predictions() -> None:
    generator = np.random.default_rng(2)
    references = np.ones(300, dtype=int)
    ours, theirs = (generator.random((2, 300)) < [[0.9], [0.8]]).astype(int)
    units = [MeanOfUnits(given.astype(float)) for given in (ours, theirs)]
    assert compare("accuracy", "probe", *units) == compare_predictions("accuracy", "probe", references, ours, theirs, 2)
    assert "McNemar" in compare("exact_match", "probe", *units).method
    assert "bootstrap" in compare("answer_f1", "probe", units[0], MeanOfUnits(theirs / 2)).method
    # Of errors less is better: McNemar would have to be turned round.
    assert compare("loss", "probe", *units).difference.value < 0


def test_f1_of_entities_is_compared_over_sentences() -> None:
    generator = np.random.default_rng(3)
    references = [[(3 * i, 3 * i + 2, "PER") for i in range(generator.integers(0, 4))] for _ in range(300)]

    def noisy(right: float) -> list[list[tuple[int, int, str]]]:
        return [[(a, b + (generator.random() > right), label) for a, b, label in spans] for spans in references]

    good, poor = (entity_figures(references, noisy(right))["entity_f1"] for right in (0.95, 0.8))
    found = compare("entity_f1", "probe", good, poor, samples=500)
    assert found.test_rows == 300
    assert verdict(found).verdict == "ship"
    assert verdict(compare("entity_f1", "probe", good, good, samples=200)).verdict == "keep-baseline"


def test_two_perfect_candidates_leave_the_baseline() -> None:
    perfect = regression_figures(np.arange(9.0), np.arange(9.0))["rmse"]
    assert verdict(compare("rmse", "probe", perfect, perfect, samples=100)).verdict == "keep-baseline"


def test_figures_that_are_no_better_speak_against_shipping() -> None:
    ours, theirs = (
        {
            name: Measure(value=value, low=0.0, high=1.0)
            for name, value in zip(("number", "marked"), values, strict=True)
        }
        for values in ((0.25, 0.5), (0.25, 0.375))
    )
    said = "But what it writes is not seen to be better: number 25.0% (baseline 25.0%), on 24 rows."
    assert caution(ours, theirs, ("number", "marked", "judge_preference"), 24) == said
    assert caution(ours, theirs, ("marked",), 24) == ""


def test_a_handful_of_rows_ships_nothing() -> None:
    ours, theirs = (FunctionOfSums(np.full((4, 1), v), lambda sums: sums[:, 0] / 4) for v in (0.9, 0.1))
    assert verdict(compare("entity_f1", "probe", ours, theirs, samples=500)).verdict == "undecided"
