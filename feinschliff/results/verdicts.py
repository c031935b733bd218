"""From two candidates' predictions on the same rows to a verdict in words. Knows no model and no data file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feinschliff.results.classification import metric_function
from feinschliff.results.comparison import Verdict, VerdictWord
from feinschliff.results.formats import (
    format_bound,
    format_candidate,
    format_difference,
    format_metric_name,
    format_p,
    format_value,
)
from feinschliff.results.intervals import (
    paired_bootstrap,
    paired_difference_of_proportions,
    rare_strata,
    rows_needed,
    rows_needed_from_interval,
)
from feinschliff.results.measures import Difference

SMALLEST_GAIN = 0.01
"""One percentage point: the smallest gain for which replacing a simple baseline is worth the trouble."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on: two candidates on the same test rows. Values are fractions."""

    metric: str
    tuned: float
    baseline: str
    """Name of the strongest baseline, as it stands in the sentence: ``linear probe``."""
    baseline_value: float
    difference: Difference
    test_rows: int
    rows_needed: int | None
    """To see the observed difference, at least :data:`SMALLEST_GAIN`, at 80% power; None: unknown."""
    method: str
    confidence: float = 0.95


def compare_predictions(
    metric: str,
    baseline: str,
    references: NDArray[Any],
    ours: NDArray[Any],
    theirs: NDArray[Any],
    num_classes: int,
    confidence: float = 0.95,
    samples: int = 2000,
) -> Evidence:
    """The paired comparison that fits the metric: McNemar for shares of right rows, else the paired bootstrap.

    Args:
        metric: a key of ``classification_metrics`` or ``multi_label_metrics`` of which more is better.
        references, ours, theirs: ``[N]`` class numbers, or ``[N, C]`` bool for several labels a row.
        samples: resamples of the bootstrap (seeded; the same input gives the same answer).
    """
    statistic = metric_function(metric, num_classes)
    if metric in ("accuracy", "subset_accuracy"):
        ours_right, theirs_right = _right(references, ours), _right(references, theirs)
        difference = paired_difference_of_proportions(ours_right, theirs_right, confidence)
        size = max(abs(difference.value), SMALLEST_GAIN)
        discordant = max(float(np.mean(ours_right != theirs_right)), size)
        needed = rows_needed((discordant + size) / 2, (discordant - size) / 2, confidence)
        method = "McNemar's test (mid-p), interval by Newcombe's method 10"
    else:
        strata = rare_strata(references) if references.ndim == 1 else None
        difference = paired_bootstrap(
            statistic, references, ours, theirs, samples=samples, confidence=confidence, strata=strata
        )
        sized = difference.model_copy(update={"value": max(abs(difference.value), SMALLEST_GAIN)})
        needed = rows_needed_from_interval(sized, len(references), confidence)
        method = f"paired bootstrap, {samples:,} resamples"
    return Evidence(
        metric=metric,
        tuned=statistic(references, ours),
        baseline=baseline,
        baseline_value=statistic(references, theirs),
        difference=difference,
        test_rows=len(references),
        rows_needed=needed,
        method=method,
        confidence=confidence,
    )


def decide(difference: Difference, confidence: float = 0.95, smallest_gain: float = SMALLEST_GAIN) -> VerdictWord:
    """``ship``, ``keep-baseline`` or ``undecided``.

    - ``ship``: the interval lies above zero and the test agrees (``p < 1 - confidence``). The two can part ways on a
      handful of rows; a claim of proof should not stand on one leg.
    - ``keep-baseline``: not shown to be better, and the interval's high end is below ``smallest_gain``. That covers a
      model that is worse, and one that is at best better by so little that a simpler baseline does as well: enough rows
      were seen to rule out a gain worth having (an equivalence bound, as in Lakens 2017, on the one side that matters).
    - ``undecided``: a gain worth having is neither shown nor ruled out; more test rows would tell.
    """
    if difference.low > 0 and difference.p < 1 - confidence:
        return "ship"
    return "keep-baseline" if difference.high < smallest_gain else "undecided"


def verdict(evidence: Evidence) -> Verdict:
    """The word, the figures and one plain sentence."""
    word = decide(evidence.difference, evidence.confidence)
    return Verdict(
        verdict=word,
        metric=evidence.metric,
        difference=evidence.difference,
        baseline=evidence.baseline,
        test_rows=evidence.test_rows,
        rows_needed=evidence.rows_needed if word == "undecided" else None,
        method=evidence.method,
        sentence=_sentence(word, evidence),
    )


def _right(references: NDArray[Any], predictions: NDArray[Any]) -> NDArray[np.bool_]:
    """``[N]``: whether the row, with all its labels, is right."""
    right: NDArray[np.bool_] = np.atleast_1d((references == predictions).reshape(len(references), -1).all(axis=1))
    return right


def _sentence(word: VerdictWord, evidence: Evidence) -> str:
    figures = (
        f"{format_value(evidence.metric, evidence.tuned)} against "
        f"{format_value(evidence.metric, evidence.baseline_value)} for the {format_candidate(evidence.baseline)}"
    )
    if evidence.metric != "accuracy":
        figures = f"{format_metric_name(evidence.metric)} {figures}"
    rows = f"{evidence.test_rows:,} test rows"
    if word == "ship":
        return f"Ship it: {figures} on {rows} ({_difference(evidence)})."
    if word == "keep-baseline":
        why = "tuning made it worse" if evidence.difference.high < 0 else "a gain worth having is ruled out"
        return f"Keep the {format_candidate(evidence.baseline)}, {why}: {figures} on {rows} ({_difference(evidence)})."
    return f"Cannot tell with {rows}: {figures} ({_difference(evidence)}){_more_rows(evidence)}."


def _difference(evidence: Evidence) -> str:
    metric, difference = evidence.metric, evidence.difference
    return (
        f"{format_difference(metric, difference.value)}, {100 * evidence.confidence:.10g}% interval "
        f"{format_bound(metric, difference.low)} to {format_bound(metric, difference.high)}, {format_p(difference.p)}"
    )


def _more_rows(evidence: Evidence) -> str:
    if evidence.rows_needed is None:
        return ""
    size = 10 ** max(0, len(str(evidence.rows_needed)) - 2)
    about = -(-evidence.rows_needed // size) * size
    small = abs(evidence.difference.value) < SMALLEST_GAIN
    gain = format_difference(evidence.metric, SMALLEST_GAIN).lstrip("+").replace("1.0 points", "one point")
    return (
        f"; about {about:,} rows would be needed to see {f'a gain of {gain}' if small else 'a difference of this size'}"
    )
