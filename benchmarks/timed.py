"""Training timed as a peer's ``train()`` is: from encoded rows to trained weights. Shared by the benchmarks."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Timed:
    """A run that was trained."""

    prepared: Any
    """With the weights that would be kept in its network."""
    seconds: float
    """From encoded rows on: precision, head, cache and steps."""
    step_seconds: float
    """Of the steps alone."""
    peak_mib: float


def timed(config: Any, splits: Any, model: Any, folder: Path) -> Timed:
    """Train ``config`` in this process, without judging on the way; ``model`` is a resolved one."""
    from feinschliff.engine import loop
    from feinschliff.lifecycle import prepare as preparing

    marks: dict[str, float] = {}
    whole = preparing.encoded

    def encoded(*given: Any) -> Any:
        out = whole(*given)
        marks["encoded"] = time.perf_counter()
        return out

    preparing.encoded = encoded
    prepared = preparing.prepare(config, splits, model, folder)
    preparing.encoded = whole
    run = loop.Fit(
        learner=prepared.learner,
        seed=config.seed,
        metric=prepared.metric,
        validate=None,
        checkpoints=folder,
        save_state=False,
    )
    begin = time.perf_counter()
    for _ in loop.fit(run):
        pass
    end = time.perf_counter()
    peak = peak_mib()
    average = prepared.learner.average
    if average is not None:
        prepared.learner.masters.load({name: value.clone() for name, value in average.named().items()})
    return Timed(prepared, end - marks["encoded"], end - begin, peak)


def peak_mib() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
