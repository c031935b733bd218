"""What a language model makes of conversations: how likely the right answers were to it, and what it writes itself.

Likelihoods of all rows are cheap and decide by default; writing is slow, so texts may be there for some rows only, and
their figures say for how many. Knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.data.examples import Example
from feinschliff.results.check_files import Written
from feinschliff.results.checkers import Check, default_checks, load_checks
from feinschliff.results.evaluation import EvaluationResult, WrittenRow
from feinschliff.results.formats import LIKELIHOOD_METRICS
from feinschliff.results.resampling import Figure, MeanOfUnits
from feinschliff.results.translation import SUMMARY_METRICS, TRANSLATION_METRICS, summary_figures, translation_figures
from feinschliff.results.written import (
    MATCH_METRICS,
    check_figures,
    likelihood_figures,
    match_figures,
    measure_written,
)
from feinschliff.tasks._shown import SHOWN_CHARACTERS, joined, row_ref
from feinschliff.tasks._task import Floats

WRITTEN_METRICS = (*MATCH_METRICS, *TRANSLATION_METRICS, *SUMMARY_METRICS)


@dataclass(slots=True)
class ChatAnswers:
    """Of N examples: likelihoods, and what was written for some of them."""

    sums_N3: Floats
    """Summed loss, tokens that carry it (weighted), and of how many the right one was the likeliest."""
    texts: Mapping[int, str] = field(default_factory=dict)
    """Example to what was written for it."""

    def only_written(self, examples: Sequence[Example]) -> tuple[list[Example], list[str]]:
        """The examples that texts are there for, and the texts."""
        rows = [row for row in sorted(self.texts) if examples[row].references]
        return [examples[row] for row in rows], [self.texts[row] for row in rows]


def side_by_side(
    ours: ChatAnswers, theirs: ChatAnswers, examples: Sequence[Example]
) -> tuple[list[Written], list[str]]:
    """Rows that both answered in writing, with our answers, and theirs."""
    rows = sorted(ours.texts.keys() & theirs.texts.keys())
    return _as_written([examples[row] for row in rows], [ours.texts[row] for row in rows]), [
        theirs.texts[row] for row in rows
    ]


def _as_written(examples: Sequence[Example], texts: Sequence[str]) -> list[Written]:
    return [
        Written(row.texts[0], text, row.references, f"{row.place.file}:{row.place.line}")
        for row, text in zip(examples, texts, strict=True)
    ]


def needs_writing(metric: str) -> bool:
    """Whether a metric looks at texts that the model writes."""
    return metric not in LIKELIHOOD_METRICS


def checks_of(config: EvaluationConfig, examples: Sequence[Example]) -> tuple[list[Check], list[str]]:
    """The checks asked for, or what the references themselves mark; and what is to be said of that."""
    if config.checks:
        return list(load_checks(config.checks)), []
    found, said = default_checks([row.references for row in examples if row.references])
    return list(load_checks(found)), [said] if found else []


def figures(
    answers: ChatAnswers, examples: Sequence[Example], checks: Sequence[Check], metric: str = ""
) -> dict[str, Figure]:
    """One figure by name, or all."""
    if metric in LIKELIHOOD_METRICS:
        return likelihoods(answers)
    found: dict[str, Figure] = {} if metric else dict(likelihoods(answers))
    rows, texts = answers.only_written(examples)
    if not rows:
        return found
    references = [row.references for row in rows]
    if not metric or metric in MATCH_METRICS:
        found |= match_figures(references, texts)
    if not metric or metric in TRANSLATION_METRICS:
        found |= translation_figures(references, texts)
    if not metric or metric in SUMMARY_METRICS:
        found |= summary_figures(references, texts)
    return found | check_figures(checks, _as_written(rows, texts))


def likelihoods(answers: ChatAnswers) -> dict[str, Figure]:
    """Loss, perplexity and token accuracy over all rows."""
    sums = answers.sums_N3.astype(np.float64)
    return likelihood_figures(sums[:, 0], sums[:, 1], np.minimum(sums[:, 2], sums[:, 1]))


def judge(
    answers: ChatAnswers,
    examples: Sequence[Example],
    checks: Sequence[Check],
    metric: str,
    config: EvaluationConfig,
) -> EvaluationResult:
    """All figures with intervals over rows, and answers to be read."""
    found = figures(answers, examples, checks)
    ordered = {name: found[name] for name in (metric, *(name for name in found if name != metric)) if name in found}
    by_size: dict[int, dict[str, Figure]] = {}
    for name, figure in ordered.items():
        by_size.setdefault(figure.num_units, {})[name] = figure
    measured: dict[str, Any] = {}
    for group in by_size.values():
        measured |= measure_written(group, config.bootstrap_samples, config.confidence)
    rows, _ = answers.only_written(examples)
    return EvaluationResult(
        rows=len(examples),
        metric=metric,
        metrics={name: measured[name] for name in ordered},
        confidence=config.confidence,
        written=_written(answers, examples, checks, config.worst_examples),
        notes=[f"{len(rows):,} of {len(examples):,} rows were answered in writing"] if rows else [],
    )


def _written(answers: ChatAnswers, examples: Sequence[Example], checks: Sequence[Check], most: int) -> list[WrittenRow]:
    """Answers side by side with what they should be, in the order of the rows."""
    rows, texts = answers.only_written(examples)
    rows, texts = rows[:most], texts[:most]
    if not rows:
        return []
    units: dict[str, Any] = {}
    for name, figure in figures(ChatAnswers(answers.sums_N3, dict(enumerate(texts))), rows, checks, "checks").items():
        if isinstance(figure, MeanOfUnits):
            units[name] = figure.units
    return [
        WrittenRow(
            row=row_ref(row),
            prompt=joined(row)[-SHOWN_CHARACTERS:],
            reference=row.references[0][:SHOWN_CHARACTERS],
            written=text[:SHOWN_CHARACTERS] or "(nothing)",
            checks={name: float(values[number]) for name, values in units.items()},
        )
        for number, (row, text) in enumerate(zip(rows, texts, strict=True))
    ]
