"""From probabilities and references to an evaluation: metrics with intervals, per class, calibration, worst rows.

Knows no model: whoever has probabilities, tuned model or baseline, is judged the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from feinschliff.results.data import RowRef
from feinschliff.results.evaluation import EvaluationResult, WrongRow
from feinschliff.results.intervals import expected_calibration_error

Floats = npt.NDArray[np.float32]
SHOWN_CHARACTERS = 300


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
    scores: Floats,
    decisions: npt.NDArray[np.int64],
    examples: Sequence[Example],
    label_names: Sequence[str],
    metric: str,
    config: EvaluationConfig,
) -> EvaluationResult:
    """Judge probabilities [N, C] and the decisions taken from them ([N], or [N, C] for several labels)."""
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


def row_ref(example: Example) -> RowRef:
    """A row as reports show it."""
    text = " ⟂ ".join(example.texts)
    return RowRef(file=example.place.file, line=example.place.line, text=text[:SHOWN_CHARACTERS])
