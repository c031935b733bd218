"""From two candidates' predictions on the same rows to a verdict in words. Knows no model and no data file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feinschliff.results.classification import metric_function
from feinschliff.results.comparison import Verdict, VerdictWord
from feinschliff.results.formats import (
    LESS_IS_BETTER,
    format_candidate,
    format_difference,
    format_interval,
    format_metric_name,
    format_p,
    format_value,
    is_in_units,
)
from feinschliff.results.intervals import (
    paired_bootstrap,
    paired_difference_of_proportions,
    rare_strata,
    rows_needed,
    rows_needed_from_interval,
)
from feinschliff.results.measures import Difference, Measure
from feinschliff.results.resampling import Figure, MeanOfUnits, paired_figures, value_of

SMALLEST_GAIN = 0.01
"""One percentage point (of a correlation 0.01): the smallest gain for which replacing a simple baseline is worth the
trouble. See :func:`smallest_gain`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on: two candidates on the same test rows. Values are fractions, or in the target's units."""

    metric: str
    tuned: float
    baseline: str
    """Name of the strongest baseline, as it stands in the sentence: ``linear probe``."""
    baseline_value: float
    difference: Difference
    """Positive: tuned is better, also where less of the metric is better."""
    test_rows: int
    rows_needed: int | None
    """To see the observed difference, at least :func:`smallest_gain`, at 80% power; None: unknown."""
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
    if metric in ("accuracy", "subset_accuracy"):
        return _compare_shares(metric, baseline, _right(references, ours), _right(references, theirs), confidence)
    statistic = metric_function(metric, num_classes)
    strata = rare_strata(references) if references.ndim == 1 else None
    difference = paired_bootstrap(
        statistic, references, ours, theirs, samples=samples, confidence=confidence, strata=strata
    )
    values = statistic(references, ours), statistic(references, theirs)
    return _from_bootstrap(metric, baseline, values, difference, (len(references), samples, confidence))


def compare(
    metric: str, baseline: str, ours: Figure, theirs: Figure, confidence: float = 0.95, samples: int = 2000
) -> Evidence:
    """The paired comparison of any two candidates over the same units, as each metrics module makes their figures.

    McNemar where both are shares of right units, else the paired bootstrap.

    Args:
        metric: what the figures are; where less of it is better, the difference is turned round.
        ours, theirs: the metric of either candidate, over the same rows (sentences, queries) in the same order.

    Raises:
        ValueError: no units, or different numbers of them.
    """
    less = metric in LESS_IS_BETTER
    shares = [figure.units == 1.0 for figure in (ours, theirs) if isinstance(figure, MeanOfUnits) and figure.is_share]
    if len(shares) == 2 and not less:
        return _compare_shares(metric, baseline, shares[0], shares[1], confidence)
    better, other = (theirs, ours) if less else (ours, theirs)
    difference = paired_figures(better, other, samples, confidence)
    values = value_of(ours), value_of(theirs)
    return _from_bootstrap(metric, baseline, values, difference, (ours.num_units, samples, confidence))


def smallest_gain(metric: str, baseline_value: float) -> float:
    """The smallest gain worth having: :data:`SMALLEST_GAIN`; of an error in units of the target, one percent of the
    baseline's."""
    if not is_in_units(metric):
        return SMALLEST_GAIN
    return max(SMALLEST_GAIN * abs(baseline_value), sys.float_info.min)


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
    gain = smallest_gain(evidence.metric, evidence.baseline_value)
    word = decide(evidence.difference, evidence.confidence, gain)
    return Verdict(
        verdict=word,
        metric=evidence.metric,
        difference=evidence.difference,
        baseline=evidence.baseline,
        test_rows=evidence.test_rows,
        rows_needed=_rows_needed(evidence) if word == "undecided" else None,
        method=evidence.method,
        sentence=_sentence(word, evidence),
    )


def caution(ours: Mapping[str, Measure], theirs: Mapping[str, Measure], names: Sequence[str], rows: int) -> str:
    """One sentence where some of the figures ``names`` are no better than the baseline's; empty where there are none.

    Args:
        rows: how many stand behind these figures.
    """
    worse = [name for name in names if name in ours and name in theirs and ours[name].value <= theirs[name].value]
    told = (
        f"{format_metric_name(name)} {format_value(name, ours[name].value)} "
        f"(baseline {format_value(name, theirs[name].value)})"
        for name in worse
    )
    return f"But what it writes is not seen to be better: {', '.join(told)}, on {rows:,} rows." if worse else ""


def _compare_shares(
    metric: str, baseline: str, ours_right: NDArray[np.bool_], theirs_right: NDArray[np.bool_], confidence: float
) -> Evidence:
    difference = paired_difference_of_proportions(ours_right, theirs_right, confidence)
    size = max(abs(difference.value), SMALLEST_GAIN)
    discordant = max(float(np.mean(ours_right != theirs_right)), size)
    return Evidence(
        metric=metric,
        tuned=float(np.mean(ours_right)),
        baseline=baseline,
        baseline_value=float(np.mean(theirs_right)),
        difference=difference,
        test_rows=len(ours_right),
        rows_needed=rows_needed((discordant + size) / 2, (discordant - size) / 2, confidence),
        method="McNemar's test (mid-p), interval by Newcombe's method 10",
        confidence=confidence,
    )


def _from_bootstrap(
    metric: str, baseline: str, values: tuple[float, float], difference: Difference, drawn: tuple[int, int, float]
) -> Evidence:
    """``values``: ours and theirs. ``drawn``: rows, resamples and confidence."""
    rows, samples, confidence = drawn
    size = max(abs(difference.value), smallest_gain(metric, values[1]))
    sized = difference.model_copy(update={"value": size})
    return Evidence(
        metric=metric,
        tuned=values[0],
        baseline=baseline,
        baseline_value=values[1],
        difference=difference,
        test_rows=rows,
        rows_needed=rows_needed_from_interval(sized, rows, confidence),
        method=f"paired bootstrap, {samples:,} resamples",
        confidence=confidence,
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
    rows = f"{evidence.test_rows:,} test row{'s' if evidence.test_rows > 1 else ''}"
    if word == "ship":
        return f"Ship it: {figures} on {rows} ({_difference(evidence)})."
    if word == "keep-baseline":
        why = "tuning made it worse" if evidence.difference.high < 0 else "a gain worth having is ruled out"
        return f"Keep the {format_candidate(evidence.baseline)}, {why}: {figures} on {rows} ({_difference(evidence)})."
    return f"Cannot tell with {rows}: {figures} ({_difference(evidence)}){_more_rows(evidence)}."


def _difference(evidence: Evidence) -> str:
    metric, difference = evidence.metric, evidence.difference
    interval = format_interval(metric, difference.value, difference.low, difference.high)
    return (
        f"{format_difference(metric, difference.value)}, {100 * evidence.confidence:.10g}% interval {interval}, "
        f"{format_p(difference.p)}"
    )


def _rows_needed(evidence: Evidence) -> int | None:
    """None also where the rows are too few to tell how much rows differ."""
    return None if evidence.rows_needed is None or evidence.rows_needed <= evidence.test_rows else evidence.rows_needed


def _more_rows(evidence: Evidence) -> str:
    if evidence.rows_needed is None:
        return ""
    needed = _rows_needed(evidence)
    if needed is None:
        return "; more rows are needed"
    size = 10 ** max(0, len(str(needed)) - 2)
    about = -(-needed // size) * size
    small = abs(evidence.difference.value) < smallest_gain(evidence.metric, evidence.baseline_value)
    gain = format_difference(evidence.metric, SMALLEST_GAIN).lstrip("+").removesuffix(" less")
    gain = gain.replace("1.0 points", "one point")
    if is_in_units(evidence.metric):
        gain = "one percent"
    return (
        f"; about {about:,} rows would be needed to see {f'a gain of {gain}' if small else 'a difference of this size'}"
    )
