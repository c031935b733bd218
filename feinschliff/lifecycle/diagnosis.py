"""Learned, or learned by heart: the kept weights on training rows beside validation rows, in figures and plain words.

Knows tasks that give each row probabilities over classes (``CLASSIFIES_ROWS``); of others it says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from feinschliff import registry
from feinschliff.data.examples import Example, Splits
from feinschliff.engine.batching import FORWARD_TOKENS
from feinschliff.engine.scoring import outputs
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.results.evaluation import WrongRow
from feinschliff.results.formats import format_difference, format_metric_name, format_value
from feinschliff.results.training import CurvePoint, Diagnosis
from feinschliff.tasks._classified import Classified, references_of, worst_rows
from feinschliff.tasks._task import encoded

SAMPLE_ROWS = 1000
"""Of each set at most: the shares are then known to three points or better (two standard errors)."""
SURE = 0.99
SHOWN_WRONG = 20
CONFIDENTLY = 0.9
"""From this confidence on, a training row that is answered otherwise is listed."""
RISE = 1.1
"""The validation loss counts as having risen where it ends at this many times its lowest value."""
SHOWN_SHARE = 0.005
"""Less is shown as 0%, which says nothing."""
MEMORISED = 0.1
"""A lead of the training rows by this share, in the metric or in sure answers, is worth a word, where it is more than
two standard errors of two shares."""


@dataclass(frozen=True, slots=True)
class Side:
    """One set by the kept weights."""

    rows: int
    loss: float
    metric: float
    sure: float
    wrong: list[WrongRow]


def diagnose(
    prepared: Prepared, weights: dict[str, Tensor], splits: Splits, curve: Sequence[CurvePoint], best_step: int
) -> Diagnosis | None:
    """Score a sample of both sets with ``weights`` (all trained ones, as they are exported), which the network keeps.

    None: the task does not classify rows, or there are no validation rows to hold the training rows against.
    """
    if not splits.validation or not registry.says("task", prepared.config.task.type, "CLASSIFIES_ROWS"):
        return None
    prepared.learner.masters.load(weights)
    train, validation = (_side(prepared, rows, splits.label_names) for rows in (splits.train, splits.validation))
    rises = _loss_rises_after(curve)
    return Diagnosis(
        train_rows=train.rows,
        validation_rows=validation.rows,
        train_loss=train.loss,
        validation_loss=validation.loss,
        train_metric=train.metric,
        validation_metric=validation.metric,
        train_sure=train.sure,
        validation_sure=validation.sure,
        best_step=best_step,
        last_step=curve[-1].step,
        loss_rises_after=rises,
        sentences=_in_words(prepared.metric, train, validation, curve, best_step),
        wrong=train.wrong,
    )


def _side(prepared: Prepared, examples: Sequence[Example], label_names: Sequence[str]) -> Side:
    """A sample of one set, scored as it would be in use: no dropout, no smoothing, no class weights."""
    order = np.random.default_rng([prepared.config.seed, 0xD1A6]).permutation(len(examples))[:SAMPLE_ROWS]
    rows = [examples[row] for row in np.sort(order).tolist()]
    task = prepared.task
    read = encoded(task, rows, prepared.max_length_tokens, prepared.method.num_virtual_tokens)
    tokens = min(prepared.config.training.micro_batch_tokens, FORWARD_TOKENS)
    found = outputs(task, prepared.network, read.table, max_tokens=tokens, targets=read.targets)
    answers: Classified = task.answers(found, read)
    goal = references_of(rows, label_names, task.context.multi_label)
    wrong = worst_rows(answers.probabilities, goal, answers.decisions, rows, label_names, SHOWN_WRONG)
    return Side(
        rows=len(rows),
        loss=task.validation_loss(found, read),
        metric=task.score(answers, rows, prepared.metric),
        sure=float(_sure_and_right(answers.probabilities, answers.decisions, goal).mean()),
        wrong=[row for row in wrong if (row.confidence or 0.0) >= CONFIDENTLY],
    )


def _sure_and_right(scores: Any, decisions: Any, goal: Any) -> npt.NDArray[np.bool_]:
    """[N]: right with more than ``SURE``; with several labels, each of them."""
    if goal.ndim == 2:
        confidence = np.where(decisions == 1, scores, 1.0 - scores)
        both: npt.NDArray[np.bool_] = ((confidence > SURE) & (decisions == goal)).all(1)
        return both
    found: npt.NDArray[np.bool_] = (scores.max(1) > SURE) & (decisions == goal)
    return found


def _loss_rises_after(curve: Sequence[CurvePoint]) -> int | None:
    """Step of the lowest validation loss, where the last one is clearly higher."""
    losses = [(point.validation_loss, point.step) for point in curve if point.validation_loss is not None]
    if not losses:
        return None
    lowest, step = min(losses)
    return step if losses[-1][0] > RISE * lowest else None


def _leads(train: float, validation: float, train_rows: int, validation_rows: int) -> bool:
    """Whether training rows are ahead by more than a little, and more than by chance: both are taken as shares."""
    shares = ((train, train_rows), (validation, validation_rows))
    variance = sum(max(0.0, share * (1.0 - share)) / rows for share, rows in shares)
    return train - validation > max(MEMORISED, 2.0 * math.sqrt(variance))


def _in_words(metric: str, train: Side, validation: Side, curve: Sequence[CurvePoint], best_step: int) -> list[str]:
    """What the figures mean, in one to four sentences."""
    name, gap = format_metric_name(metric), train.metric - validation.metric
    said = [
        f"Training rows: {name} {format_value(metric, train.metric)}, validation rows: "
        f"{format_value(metric, validation.metric)} ({format_difference(metric, gap)})."
    ]
    sure = f"{100 * train.sure:.0f}% of them are answered right with over 99% confidence"
    sure = f"{sure}, of the validation rows {100 * validation.sure:.0f}%"
    if _leads(train.metric, validation.metric, train.rows, validation.rows):
        shown = f" ({sure})" if train.sure >= SHOWN_SHARE else ""
        said.append(
            f"Part of the training rows was learned by heart{shown}. More rows, fewer epochs, or "
            "training.regularisation may help."
        )
    elif _leads(train.sure, validation.sure, train.rows, validation.rows):
        said.append(f"The model is surer of training rows ({sure}), but not clearly more often right.")
    else:
        said.append(
            f"The lead of the training rows is less than {100 * MEMORISED:.0f} points, or within chance: no sign of "
            "learning by heart."
        )
    rises = _loss_rises_after(curve)
    if rises is not None:
        said.append(
            f"The validation loss was lowest at step {rises:,} of {curve[-1].step:,} and rose from there: answers went "
            "on getting surer, not better."
        )
    last = max(point.step for point in curve if point.validation_metric is not None)
    if best_step < last:
        said.append(f"Validation was best at step {best_step:,} of {last:,}.")
    return said
