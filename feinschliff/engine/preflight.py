"""Proof before step 1 that a run can learn: labels exist, the first loss is sane, the largest batch fits.

Changes no weight. Its timing gives the forecast. Knows no task by name.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from feinschliff.engine.batching import Ints, TokenTargets, epoch_order
from feinschliff.engine.step import Learner, backward
from feinschliff.errors import PreflightError

SANE_FACTOR = 1.5
SANE_MARGIN = 1.0
"""A first loss above this many times that of a head that knows nothing, and this much more, says that something is
wrong. With few classes ln(classes) is small, and a head from class means may be surer than it is right."""


KNOWS_NOTHING = "a head that knows nothing"


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was measured."""

    first_loss: float
    expected_loss: float
    """ln(classes): the loss of a head that knows nothing; a head started from class means lies below. Of language
    models what the base model gives."""
    seconds_per_token: float
    largest_batch_tokens: int


def check(learner: Learner, seed: int, expected_loss: float, expected_of: str = KNOWS_NOTHING) -> Preflight:
    """Run the first and the largest batch forward and backward, the largest with its optimizer step.

    Raises:
        PreflightError: a row has no target, the loss is no number or far above ``expected_loss``, or memory is short.
    """
    _refuse_rows_without_targets(learner)
    size = learner.training.global_batch_rows
    learner.network.train()
    _run(learner, epoch_order(len(learner.table), seed, 0)[: max(1, size // 4)])
    begin = time.perf_counter()
    sample = _run(learner, epoch_order(len(learner.table), seed, 0)[:size])
    seconds = time.perf_counter() - begin
    longest = np.argsort(learner.table.lengths, kind="stable")[-size:]
    largest = _run(learner, longest, whole_step=True)
    if not math.isfinite(sample[0]) or sample[0] > SANE_FACTOR * expected_loss + SANE_MARGIN:
        raise PreflightError(
            f"the first loss is {sample[0]:.3g}; {expected_of} has {expected_loss:.3g}",
            why="labels or features are broken, or the model's weights are",
            remedy="run `feinschliff models verify` and `feinschliff data check`",
        )
    return Preflight(sample[0], expected_loss, seconds / max(1, sample[1]), largest[1])


def _refuse_rows_without_targets(learner: Learner) -> None:
    """Every row has its targets, all of them or (where the task allows it) some; of targets a token, one is there."""
    targets, rows = learner.targets, len(learner.table)
    if isinstance(targets, TokenTargets):
        usable = rows if targets.num_targets else 0
    else:
        known = torch.isfinite(targets.float()).reshape(len(targets), -1) if targets is not None else torch.zeros(0, 1)
        usable = int((known.any(1) if learner.objective.partial_targets else known.all(1)).sum())
    if usable != rows:
        raise PreflightError(
            f"{rows} training rows but {usable} usable targets", remedy="run `feinschliff data check` on the file"
        )


def _run(learner: Learner, rows: Ints, *, whole_step: bool = False) -> tuple[float, int]:
    """Mean loss and tokens of one forward and backward pass whose gradients are dropped."""
    try:
        loss = backward(learner, rows)
        if whole_step and math.isfinite(loss.loss_sum):
            learner.optimizer.rehearse()
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise PreflightError(
            f"a batch of {int(learner.table.lengths[rows].sum())} tokens does not fit into memory",
            why=str(error).splitlines()[0] if str(error) else "out of memory",
            remedy="lower --training.micro-batch-tokens or --model.max-length-tokens",
        ) from error
    finally:
        learner.masters.discard_gradients()
    return loss.loss_sum / loss.num_targets, loss.num_tokens
