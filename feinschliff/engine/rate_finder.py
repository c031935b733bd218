"""Which learning rate: the loss while the rate grows step by step, and what its curve says. Leaves no trace.

Knows the learner's step; no task, no file and no picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count

from feinschliff.engine.batching import Ints
from feinschliff.engine.seeds import seed_step
from feinschliff.engine.step import Learner, train_step

LOWEST, HIGHEST = 1e-7, 1.0
"""Rates of the body at the two ends of a sweep."""
MEMORY = 0.95
"""Share of the past in the smoothed loss, at each step."""
DIVERGED = 4.0
"""The sweep ends where the smoothed loss is this many times its lowest value (Howard and Gugger 2020)."""
EDGE_FRACTION = 0.2
"""Share of the points, at the start, whose smoothed loss rests on too few batches to be compared."""
SPAN = 3
"""A slope is measured over so many points to each side."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One step of a sweep."""

    rate: float
    loss: float
    """Mean over the step's targets, before the update at this rate."""
    smoothed: float
    """Mean of the losses so far, the last ones counting most."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sweep's curve says; None: the loss never fell."""

    steepest: float | None
    """Rate at which the smoothed loss falls fastest, over the rate's logarithm."""
    lowest: float | None
    """Rate at which it is lowest."""

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate at which the loss is lowest: well before it rises, where it still falls."""
        return None if self.lowest is None else self.lowest / 10.0


def sweep(
    learner: Learner, seed: int, steps: int = 100, low: float = LOWEST, high: float = HIGHEST
) -> list[SweepPoint]:
    """Train ``steps`` steps at rates that grow exponentially from ``low`` to ``high`` (range test, Smith 2017).

    Ends early where the loss diverges. Afterwards weights, moments and rate are what they were. A function of
    weights, rows and seed.
    """
    points: list[SweepPoint] = []
    mean, best = 0.0, math.inf
    with _undone(learner):
        for step, rows in zip(range(steps), _batches(learner, seed), strict=False):
            rate = low * (high / low) ** (step / max(1, steps - 1))
            learner.optimizer.learning_rate = rate
            seed_step(seed, step)
            out = train_step(learner, rows, 1.0)
            loss = out.loss_sum / out.num_targets
            if not math.isfinite(loss):
                break
            mean = MEMORY * mean + (1.0 - MEMORY) * loss
            smoothed = mean / (1.0 - MEMORY ** (step + 1))
            points.append(SweepPoint(rate, loss, smoothed))
            if smoothed > DIVERGED * best:
                break
            best = min(best, smoothed)
    return points


def read(points: list[SweepPoint]) -> Reading:
    """Where the smoothed loss falls fastest, and where it is lowest."""
    edge = max(SPAN, int(EDGE_FRACTION * len(points)))
    if len(points) <= edge + SPAN:
        return Reading(None, None)
    lowest = min(range(edge, len(points)), key=lambda place: points[place].smoothed)
    if points[lowest].smoothed >= points[edge].smoothed:
        return Reading(None, None)
    places = range(edge, min(lowest + 1, len(points) - SPAN))
    steepest = min(places, key=lambda place: _slope(points[place - SPAN], points[place + SPAN]), default=lowest)
    return Reading(points[steepest].rate, points[lowest].rate)


def _slope(before: SweepPoint, after: SweepPoint) -> float:
    """Change of the smoothed loss over the rate's logarithm."""
    return (after.smoothed - before.smoothed) / math.log(after.rate / before.rate)


def _batches(learner: Learner, seed: int) -> Iterator[Ints]:
    """The rows of step after step, in the order of a run with this seed, over as many epochs as it takes."""
    size = learner.training.global_batch_rows
    orders = (learner.order(seed, epoch) for epoch in count())
    return chain.from_iterable(
        (order[begin : begin + size] for begin in range(0, len(order), size)) for order in orders
    )


@contextmanager
def _undone(learner: Learner) -> Iterator[None]:
    """Weights, moments and rate as they were before, whatever was trained inside."""
    rate, moments = learner.optimizer.learning_rate, learner.optimizer.state()
    moments = {name: value.clone() for name, value in moments.items()}
    weights = {name: value.clone() for name, value in learner.masters.named().items()}
    learner.network.train()
    try:
        yield
    finally:
        learner.masters.load(weights)
        learner.masters.discard_gradients()
        learner.optimizer.learning_rate = rate
        learner.optimizer.forget()
        learner.optimizer.load(moments)
