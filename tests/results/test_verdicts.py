"""Verdicts: the rule, the sentence, and that the rule keeps its word in simulation."""

import numpy as np
import pytest

from feinschliff.results.measures import Difference
from feinschliff.results.verdicts import Evidence, compare_predictions, decide, verdict


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
