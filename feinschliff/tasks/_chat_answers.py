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
from feinschliff.results.answers import without_reasoning
from feinschliff.results.check_files import Written
from feinschliff.results.checkers import Check, default_checks, load_checks
from feinschliff.results.evaluation import EvaluationResult, WrittenRow
from feinschliff.results.formats import LIKELIHOOD_METRICS, both_ends, format_metric_name
from feinschliff.results.resampling import Figure, MeanOfUnits
from feinschliff.results.translation import SUMMARY_METRICS, TRANSLATION_METRICS, summary_figures, translation_figures
from feinschliff.results.written import (
    MATCH_METRICS,
    check_figures,
    likelihood_figures,
    match_figures,
    measure_written,
)
from feinschliff.tasks._shown import joined, row_ref
from feinschliff.tasks._task import Floats

KEPT_CHARACTERS = 1500
"""Of a prompt, a right answer and a written one, in results: an answer's end often says what it comes to."""
WRITTEN_METRICS = (*MATCH_METRICS, *TRANSLATION_METRICS, *SUMMARY_METRICS)


@dataclass(slots=True)
class ChatAnswers:
    """Of N examples: likelihoods, and what was written for some of them."""

    sums_N3: Floats
    """Summed loss, tokens that carry it (weighted), and of how many the right one was the likeliest."""
    texts: Mapping[int, str] = field(default_factory=dict)
    """Example to what was written for it."""
    references: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Of examples whose right answer the template writes otherwise than the file."""
    notes: Sequence[str] = ()
    """What is to be said of the writing."""

    def comparable(self, examples: Sequence[Example]) -> list[int]:
        """The examples that texts are there for, and right answers."""
        return [row for row in sorted(self.texts) if examples[row].references]

    def compared(self, examples: Sequence[Example], rows: Sequence[int]) -> list[Written]:
        """Texts beside right answers, both without the reasoning that goes before an answer."""
        return [
            Written(
                examples[row].texts[0],
                without_reasoning(self.texts[row]),
                tuple(without_reasoning(gold) for gold in self.references.get(row, examples[row].references)),
                f"{examples[row].place.file}:{examples[row].place.line}",
            )
            for row in rows
        ]


def side_by_side(
    ours: ChatAnswers, theirs: ChatAnswers, examples: Sequence[Example]
) -> tuple[list[Written], list[str]]:
    """Rows that both answered in writing, with our answers, and theirs."""
    rows = sorted(ours.texts.keys() & theirs.texts.keys())
    return ours.compared(examples, rows), [row.answer for row in theirs.compared(examples, rows)]


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
    rows = answers.compared(examples, answers.comparable(examples))
    if not rows:
        return found
    references, texts = [row.references for row in rows], [row.answer for row in rows]
    if not metric or metric in MATCH_METRICS:
        found |= match_figures(references, texts)
    if not metric or metric in TRANSLATION_METRICS:
        found |= translation_figures(references, texts)
    if not metric or metric in SUMMARY_METRICS:
        found |= summary_figures(references, texts)
    return found | check_figures(checks, rows)


def likelihoods(answers: ChatAnswers) -> dict[str, Figure]:
    """Loss, perplexity and token accuracy over all rows with something to be judged by: a sample of others has none."""
    sums = answers.sums_N3.astype(np.float64)
    sums = sums[sums[:, 1] > 0]
    return likelihood_figures(sums[:, 0], sums[:, 1], np.minimum(sums[:, 2], sums[:, 1]))


def judge(
    answers: ChatAnswers,
    examples: Sequence[Example],
    checks: Sequence[Check],
    metric: str,
    config: EvaluationConfig,
) -> EvaluationResult:
    """All figures with intervals over rows, and answers to be read; the loss stands first where ``metric`` looks at
    written answers and there are none."""
    found = figures(answers, examples, checks)
    first = metric if metric in found else LIKELIHOOD_METRICS[0]
    ordered = {name: found[name] for name in (first, *(name for name in found if name != first))}
    by_size: dict[int, dict[str, Figure]] = {}
    for name, figure in ordered.items():
        by_size.setdefault(figure.num_units, {})[name] = figure
    measured: dict[str, Any] = {}
    for group in by_size.values():
        measured |= measure_written(group, config.bootstrap_samples, config.confidence)
    return EvaluationResult(
        rows=len(examples),
        metric=first,
        metrics={name: measured[name] for name in ordered},
        confidence=config.confidence,
        written=_written(answers, examples, checks, config.worst_examples),
        notes=_notes(answers, examples, [*ordered], missing="" if first == metric else format_metric_name(metric)),
    )


def _notes(answers: ChatAnswers, examples: Sequence[Example], names: Sequence[str], missing: str) -> list[str]:
    """How many rows stand behind the figures of texts, and what else is to be said of them."""
    said, count = list(answers.notes), len(answers.comparable(examples))
    if missing:
        why = "what it looks for is not in these rows" if count else "no row was answered in writing"
        said.append(f"{missing} is not measured: {why}")
    metrics = [format_metric_name(name) for name in names if name not in LIKELIHOOD_METRICS]
    if metrics:
        drawn = ", drawn at random," if len(answers.texts) < len(examples) else ""
        of = f": {', '.join(metrics)} are of these alone" if count < len(examples) else ""
        said.insert(0, f"{count:,} of {len(examples):,} rows{drawn} were answered in writing{of}")
    return said


def _written(answers: ChatAnswers, examples: Sequence[Example], checks: Sequence[Check], most: int) -> list[WrittenRow]:
    """Answers side by side with what they should be, in the order of the rows."""
    rows = answers.comparable(examples)[:most]
    if not rows:
        return []
    units = {
        name: figure.units
        for name, figure in check_figures(checks, answers.compared(examples, rows)).items()
        if isinstance(figure, MeanOfUnits)
    }
    return [
        WrittenRow(
            row=row_ref(examples[row]),
            prompt=both_ends(joined(examples[row]), KEPT_CHARACTERS),
            reference=both_ends(answers.references.get(row, examples[row].references)[0], KEPT_CHARACTERS),
            written=both_ends(answers.texts[row], KEPT_CHARACTERS) or "(nothing)",
            checks={name: float(values[number]) for name, values in units.items()},
        )
        for number, row in enumerate(rows)
    ]
