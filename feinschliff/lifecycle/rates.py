"""The verb ``rates``: which learning rate a run should take, found by a sweep on copies of the weights, with a picture.

Trains nothing that is kept, writes nothing into the run's directory: the page goes into a folder beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from feinschliff import registry
from feinschliff.config.run import RunConfig
from feinschliff.data.load import load_splits
from feinschliff.engine import preflight, rate_finder
from feinschliff.engine.events import Announced
from feinschliff.lifecycle.observing import Observer, tell
from feinschliff.lifecycle.prepare import prepare
from feinschliff.lifecycle.recipes import given_fields
from feinschliff.lifecycle.recognise import with_rows, with_task
from feinschliff.models.sources import resolve_model
from feinschliff.reports.pages import write_report
from feinschliff.results.comparison import Origin
from feinschliff.results.training import RatePoint, RateSearch
from feinschliff.store.run_directory import RunDirectory, write_json

STEPS = 100


def rates(
    config: RunConfig, origins: Sequence[Origin], *, steps: int = STEPS, observers: Sequence[Observer] = ()
) -> RateSearch:
    """Sweep the learning rate for the run that ``config`` says. Deterministic in configuration, data and precision.

    Args:
        steps: optimizer steps of the sweep.

    Raises:
        DataError, ModelError, ConfigError, PreflightError: something given is wrong.
    """
    begin, notes = time.perf_counter(), list[str]()

    def say(message: str) -> None:
        notes.append(message)
        tell(observers, Announced(message))

    folder = RunDirectory(f"{config.output_dir}-rates")
    given = given_fields(origins)
    config = with_rows(config, given)
    splits = load_splits(config.data, config.seed)
    for message in splits.announcements:
        say(message)
    config = with_task(config, given, splits.columns, say)
    model = resolve_model(config.model.source)
    for message in model.announcements:
        say(message)
    prepared = prepare(config, splits, model, folder.path, announce=say)
    try:
        learner = prepared.learner
        of = registry.fact("task", config.task.type, "EXPECTED_LOSS_OF", preflight.KNOWS_NOTHING)
        preflight.check(learner, config.seed, prepared.task.expected_first_loss(), of)
        say(f"sweeping the learning rate from {rate_finder.LOWEST:g} to {rate_finder.HIGHEST:g} in {steps} steps")
        points = rate_finder.sweep(learner, config.seed, steps)
    finally:
        prepared.close()
    reading = rate_finder.read(points)
    result = RateSearch(
        method=config.method.type,
        rows=len(splits.train),
        steps=steps,
        points=[RatePoint(rate=point.rate, loss=point.loss, smoothed=point.smoothed) for point in points],
        suggestion=reading.suggestion,
        steepest=reading.steepest,
        lowest=reading.lowest,
        default=prepared.learner.optimizer.learning_rate,
        seconds=time.perf_counter() - begin,
        report=str(folder.report),
        announcements=notes,
    )
    write_report(result, folder.path)
    write_json(folder.result, result.model_dump(mode="json"))
    return result
