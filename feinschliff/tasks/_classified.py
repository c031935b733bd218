"""What all classifiers share above the network: judgement of probabilities, answers in words, the deciding metric.

Knows no model: whoever has probabilities, tuned model or baseline, is judged the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.data.examples import Example
from feinschliff.results.classification import (
    classification_metrics,
    confusion_matrix,
    multi_label_metrics,
    per_class,
)
from feinschliff.results.evaluation import EvaluationResult, WrongRow
from feinschliff.results.intervals import expected_calibration_error
from feinschliff.results.prediction import PredictionResult
from feinschliff.tasks._shown import joined, row_ref

Floats = npt.NDArray[np.float32]
TOP = 5
"""Labels listed with their scores."""
HEAD_ROWS_PER_CLASS = 10
"""Rows a class whose features start the head; more change a mean of unit vectors little, at a forward pass each."""
HEAD_ROWS = 4096
UNEVEN_CLASSES = 20.0
"""Largest class over smallest from which macro F1 decides instead of accuracy."""


@dataclass(frozen=True, slots=True)
class Classified:
    """Answers of a classifier: probabilities [N, C], and the class numbers [N] or indicators [N, C] taken from them."""

    probabilities: Floats
    decisions: npt.NDArray[np.int64]


def references_of(examples: Sequence[Example], label_names: Sequence[str], multi_label: bool) -> npt.NDArray[np.int64]:
    """Class numbers [N], or indicators [N, C] for several labels."""
    index = {name: place for place, name in enumerate(label_names)}
    if not multi_label:
        return np.array([index[example.labels[0]] for example in examples], dtype=np.int64)
    out = np.zeros((len(examples), len(index)), dtype=np.int64)
    for row, example in enumerate(examples):
        out[row, [index[label] for label in example.labels]] = 1
    return out


def judge(
    answers: Classified,
    examples: Sequence[Example],
    label_names: Sequence[str],
    metric: str,
    config: EvaluationConfig,
) -> EvaluationResult:
    """Metrics with intervals, per class, calibration, worst rows."""
    scores, decisions = answers.probabilities, answers.decisions
    multi_label = decisions.ndim == 2
    references = references_of(examples, label_names, multi_label)
    options: dict[str, Any] = {"samples": config.bootstrap_samples, "confidence": config.confidence}
    if multi_label:
        metrics = multi_label_metrics(references.astype(bool), decisions.astype(bool), **options)
        confidence, right = _of_each_label(scores, references, decisions)
    else:
        metrics = classification_metrics(references, decisions, len(label_names), **options)
        confidence, right = scores.max(1), references == decisions
    return EvaluationResult(
        rows=len(examples),
        metric=metric,
        metrics=metrics,
        confidence=config.confidence,
        labels=list(label_names),
        confusion=None if multi_label else confusion_matrix(references, decisions, len(label_names)).tolist(),
        classes=per_class(references, decisions, list(label_names), config.confidence),
        calibration=expected_calibration_error(confidence.astype(np.float64), right),
        worst=worst_rows(scores, references, decisions, examples, label_names, config.worst_examples),
    )


def _of_each_label(scores: Floats, references: Any, decisions: Any) -> tuple[Any, Any]:
    """Several labels: each yes-or-no answer counts, with the probability it was given."""
    return np.where(decisions == 1, scores, 1.0 - scores).ravel(), (references == decisions).ravel()


def worst_rows(
    scores: Floats, references: Any, decisions: Any, examples: Sequence[Example], names: Sequence[str], most: int
) -> list[WrongRow]:
    """The most confidently wrong rows."""
    if decisions.ndim == 2:
        wrong = np.flatnonzero((references != decisions).any(1))
        confidence = (np.where(decisions == 1, scores, 1.0 - scores) * (references != decisions)).max(1)
    else:
        wrong = np.flatnonzero(references != decisions)
        confidence = scores.max(1)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return [
        WrongRow(
            row=row_ref(examples[row]),
            reference=", ".join(sorted(examples[row].labels)) or "(none)",
            prediction=_named(decisions[row], names),
            confidence=float(confidence[row]),
        )
        for row in order.tolist()
    ]


def _named(decision: Any, names: Sequence[str]) -> str:
    if np.ndim(decision) == 0:
        return names[int(decision)]
    return ", ".join(names[place] for place in np.flatnonzero(decision).tolist()) or "(none)"


def results_of(answers: Classified, examples: Sequence[Example], names: Sequence[str]) -> list[PredictionResult]:
    """Labels with the scores of the most probable ones."""
    return [
        _result(example, answers.probabilities[row], answers.decisions[row], names)
        for row, example in enumerate(examples)
    ]


def _result(example: Example, scores: Any, decision: Any, names: Sequence[str]) -> PredictionResult:
    order = np.argsort(-scores, kind="stable")[:TOP]
    chosen = np.flatnonzero(decision).tolist() if np.ndim(decision) else [int(decision)]
    return PredictionResult(
        text=joined(example),
        labels=[names[place] for place in chosen],
        score=float(scores[chosen].max()) if chosen else float(scores.max()),
        scores={names[place]: float(scores[place]) for place in order.tolist()},
        file=example.place.file,
        line=example.place.line,
    )


def deciding_metric(examples: Sequence[Example], multi_label: bool) -> tuple[str, str]:
    """Accuracy; macro F1 of very uneven classes; micro F1 of several labels."""
    if multi_label:
        return "micro_f1", "rows carry several labels"
    counts: dict[str, int] = {}
    for example in examples:
        counts[example.labels[0]] = counts.get(example.labels[0], 0) + 1
    ratio = max(counts.values()) / min(counts.values())
    if ratio > UNEVEN_CLASSES:
        return "macro_f1", f"the largest class has {ratio:.0f} times the rows of the smallest"
    return "accuracy", "classes are of similar size"


def sample_per_class(goal: npt.NDArray[Any], seed: int) -> npt.NDArray[np.int64]:
    """Numbers of some rows of each class; ``goal`` are class numbers [N] or indicators [N, C]."""
    order = np.random.default_rng([seed, 0x4EAD]).permutation(len(goal))
    member = goal[order][:, None] == np.arange(goal.max() + 1)[None] if goal.ndim == 1 else goal[order] > 0
    keep = (np.cumsum(member, 0) <= HEAD_ROWS_PER_CLASS) & member
    rows: npt.NDArray[np.int64] = order[keep.any(1)][:HEAD_ROWS]
    return rows
