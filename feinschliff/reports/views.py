"""What a page shows, worked out from results: which rows, in which order, on which scale. Knows no markup."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from feinschliff.results.comparison import TuneResult, Verdict, VerdictWord
from feinschliff.results.data import DataReport
from feinschliff.results.evaluation import ClassResult, EvaluationResult
from feinschliff.results.formats import format_candidate, goodness
from feinschliff.results.measures import Measure
from feinschliff.results.training import RateSearch, TrainingResult

TUNED = "tuned model"
MAX_CONFUSION_TABLE = 20
"""Up to so many classes the confusion matrix is a table with numbers, beyond it a picture and the worst pairs."""
MAX_HEATMAP = 200

Reportable = TuneResult | EvaluationResult | TrainingResult | DataReport | RateSearch


@dataclass(frozen=True, slots=True)
class Page:
    """The parts a report can have; None: this result has no such part."""

    title: str
    subtitle: str
    tune: TuneResult | None = None
    evaluation: EvaluationResult | None = None
    training: TrainingResult | None = None
    data: DataReport | None = None
    rates: RateSearch | None = None


def page_of(result: Reportable) -> Page:
    """The page of any result."""
    match result:
        case TuneResult():
            files = ", ".join(Path(name).name for name in result.details.data.files)
            return Page(
                title=Path(result.run).name or result.run,
                subtitle=f"{result.details.base_model or 'base model'} tuned on {files}",
                tune=result,
                evaluation=result.details.evaluation,
                training=result.details.training,
                data=result.details.data,
            )
        case EvaluationResult():
            return Page("Evaluation", f"{result.rows:,} rows", evaluation=result)
        case TrainingResult():
            return Page("Training", f"method {result.method}, {result.rows:,} rows", training=result)
        case RateSearch():
            return Page("Learning rate", f"method {result.method}, {result.rows:,} rows", rates=result)
        case DataReport():
            return Page("Data check", ", ".join(Path(name).name for name in result.files), data=result)


def heading(verdict: VerdictWord, baseline: str) -> str:
    """The verdict in two to four words."""
    return {
        "ship": "Ship it",
        "keep-baseline": f"Keep the {format_candidate(baseline)}",
        "undecided": "Cannot tell yet",
    }[verdict]


def lead(verdict: Verdict) -> str:
    """The verdict's sentence to stand under its heading: `Ship it` is not said twice, `p = 0.01` stays on one line."""
    return re.sub(r" ([=<]) ", "\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", verdict.sentence.removeprefix("Ship it: "))


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One line of the comparison; positions are shares of the scale, None where the interval lies outside of it."""

    name: str
    measure: Measure
    tuned: bool
    position: Measure | None


@dataclass(frozen=True, slots=True)
class ComparisonScale:
    """Candidates on one metric, best first, and the scale they are drawn on."""

    rows: list[CandidateRow]
    low: float
    high: float


def comparison(result: TuneResult) -> ComparisonScale:
    """Tuned model and baselines on the deciding metric.

    The scale fits the tuned model and the strongest baseline: a majority class at 1% would squeeze the two that matter
    into one dot. Whoever lies far below is listed with figures alone.
    """
    metric = result.metric
    candidates = {TUNED: result.test[metric]} | {
        name: measures[metric] for name, measures in result.baselines.items() if metric in measures
    }
    strongest = result.details.verdict.baseline
    main = [measure for name, measure in candidates.items() if name in (TUNED, strongest)]
    reach = 1.5 * (max(m.high for m in main) - min(m.low for m in main))
    lowest = min(m.low for m in main) - reach
    shown = [measure for measure in candidates.values() if measure.low >= lowest]
    low, high = min(m.low for m in shown), max(m.high for m in shown)
    room = max(0.15 * (high - low), 1e-6)
    low, high = low - room, high + room
    rows = [
        CandidateRow(name, measure, name == TUNED, _on_scale(measure, low, high))
        for name, measure in sorted(candidates.items(), key=lambda item: -goodness(metric, item[1].value))
    ]
    return ComparisonScale(rows, low, high)


def difference_position(result: TuneResult) -> tuple[Measure, float]:
    """The difference's interval and the place of zero, as shares of a scale around both."""
    d = result.difference
    low, high = min(d.low, 0.0), max(d.high, 0.0)
    room = max(0.1 * (high - low), 1e-6)
    low, high = low - room, high + room
    position = Measure(value=_share(d.value, low, high), low=_share(d.low, low, high), high=_share(d.high, low, high))
    return position, _share(0.0, low, high)


def all_metrics(result: TuneResult) -> tuple[list[str], list[tuple[str, Mapping[str, Measure]]]]:
    """Names of the metrics (the deciding one first) and, for every candidate, its measures."""
    names = [result.metric, *(name for name in result.test if name != result.metric)]
    return names, [(TUNED, result.test), *result.baselines.items()]


def chosen_by(result: TuneResult) -> str:
    """The metric on validation rows that recipes and weights were chosen by."""
    training = result.details.training
    return result.metric if training is None else training.metric


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """Rows of one class that were given another."""

    reference: str
    prediction: str
    count: int
    support: int


def confused_pairs(evaluation: EvaluationResult, most: int = 12) -> list[ConfusedPair]:
    """The most frequent mistakes, first the most rows, then the larger share of its class."""
    pairs = [
        ConfusedPair(evaluation.labels[i], evaluation.labels[j], count, sum(row))
        for i, row in enumerate(evaluation.confusion or [])
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda p: (-p.count, p.support, p.reference, p.prediction))[:most]


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class, with the strongest baseline's F1 beside ours where it is known."""

    result: ClassResult
    baseline_f1: float | None


def classes_worst_first(evaluation: EvaluationResult, baseline: EvaluationResult | None) -> list[ClassRow]:
    """Classes by F1, lowest first; classes without rows come last, nothing can be said of them."""
    theirs = {c.label: c.f1 for c in baseline.classes} if baseline else {}
    ordered = sorted(evaluation.classes, key=lambda c: (c.support == 0, c.f1, c.label))
    return [ClassRow(c, theirs.get(c.label)) for c in ordered]


def label_balance(data: DataReport) -> list[tuple[str, int, float]]:
    """Label, rows, and rows as a share of the largest class; largest first."""
    largest = max(data.label_counts.values(), default=1)
    ordered = sorted(data.label_counts.items(), key=lambda item: (-item[1], item[0]))
    return [(label, count, count / largest) for label, count in ordered]


def dropped_total(tune: TuneResult) -> int:
    """Rows not used, by the counts of reasons."""
    return sum(tune.details.dropped_reasons.values())


def announcements(page: Page) -> list[str]:
    """Every choice made for the person, each once, in the order it was made."""
    found = list(page.data.columns.announcements) if page.data else []
    found += page.tune.details.announcements if page.tune else []
    found += page.training.announcements if page.training else []
    found += page.rates.announcements if page.rates else []
    return list(dict.fromkeys(found))


def forecast(page: Page) -> tuple[float, float] | None:
    """Seconds said at the start and seconds it took: of the whole run, else of the training."""
    if page.tune:
        details = page.tune.details
        if details.forecast_seconds is not None and details.actual_seconds is not None:
            return details.forecast_seconds, details.actual_seconds
    if page.training and page.training.forecast:
        return page.training.forecast.forecast_seconds, page.training.forecast.actual_seconds
    return None


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def _on_scale(measure: Measure, low: float, high: float) -> Measure | None:
    if measure.low < low or measure.high > high:
        return None
    return Measure(
        value=_share(measure.value, low, high), low=_share(measure.low, low, high), high=_share(measure.high, low, high)
    )


_PIPELINE = """from transformers import pipeline

ask = pipeline("{tag}", model={model!r})
print(ask("{text}"))"""
_CHAT = """from transformers import pipeline

ask = pipeline("text-generation", model={model!r})
print(ask([{{"role": "user", "content": "a question"}}])[0]["generated_text"][-1]["content"])"""

_CONTINUE = """from transformers import pipeline

go_on = pipeline("text-generation", model={model!r})
print(go_on("how a text begins")[0]["generated_text"])"""
MORE_ROWS = "more_rows"
"""Stands for a file of whoever reads it."""


def usage(result: TuneResult) -> tuple[str, str]:
    """A command that asks the model, and Python that does it without us; empty where the model card has to say it."""
    columns, run = result.details.columns, shlex.quote(result.run)
    if columns.kind == "conversations":
        return f"feinschliff chat {run}", _CHAT.format(model=result.model)
    alone = len(columns.text) == 1 and columns.image is None and not columns.numbers
    if columns.kind in ("single_label", "multi_label") and alone:
        code = _PIPELINE.format(tag="text-classification", model=result.model, text="a text to sort")
        return f'feinschliff predict {run} "a text to sort"', code
    if columns.kind == "spans":
        code = _PIPELINE.format(tag="token-classification", model=result.model, text="a text to read")
        return f'feinschliff predict {run} "a text to read"', code
    if columns.kind == "documents":
        return f'feinschliff predict {run} "how a text begins"', _CONTINUE.format(model=result.model)
    return f"feinschliff predict {run} --file {MORE_ROWS}", ""
