"""The verb ``train``: one run, from configuration to model folder; killed at any moment, it resumes to the same bits.

Written in this order: config, held-out rows, checkpoints, best weights, model folder, ``training.json``, and the config
again with what was found for what it left open. Each is
written atomically, so the next start of the same command does what is left.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from feinschliff import registry
from feinschliff.config.load import write_resolved
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Splits
from feinschliff.data.load import load_splits
from feinschliff.engine import loop, preflight
from feinschliff.engine.events import Announced, Event
from feinschliff.engine.ranks import ALONE, Ranks
from feinschliff.errors import Interrupted, RunDirectoryError
from feinschliff.lifecycle import compiling, finish, held_out, interrupts, merging, several
from feinschliff.lifecycle.cards import write_training_card
from feinschliff.lifecycle.claims import claim, locked_for
from feinschliff.lifecycle.diagnosis import diagnose
from feinschliff.lifecycle.observing import Observer, tell
from feinschliff.lifecycle.parameters import count_parameters
from feinschliff.lifecycle.prepare import Prepared, deciding_metric, prepare
from feinschliff.lifecycle.recipes import given_fields
from feinschliff.lifecycle.recognise import with_rows, with_task
from feinschliff.models.sources import ResolvedModel, resolve_model
from feinschliff.results.checkers import load_checks
from feinschliff.results.comparison import Origin
from feinschliff.results.training import Forecast, TrainingResult
from feinschliff.store import index
from feinschliff.store.run_directory import RunDirectory, read_json, write_json

FINISHED = "finished"


@dataclass(slots=True)
class RunContext:
    """What a training run is given besides its configuration."""

    directory: RunDirectory
    observers: Sequence[Observer] = ()
    max_seconds: float | None = None
    fewest_epochs: float = 0.0
    """Passes that are made whatever ``max_seconds`` says."""
    save_state: bool = True
    export: bool = True
    start_over: bool = False
    """Discard the checkpoints of a run with other settings instead of refusing."""
    ranks: Ranks = ALONE
    """The processes that train together."""
    notes: list[str] = field(default_factory=list)

    def tell(self, event: Event) -> None:
        """Pass an event on."""
        tell(self.observers, event)

    def announce(self, message: str) -> None:
        """Say what was chosen, and keep it for the result."""
        self.notes.append(message)
        self.tell(Announced(message=message))

    def announce_judging(self, changes: Sequence[str]) -> None:
        """Say what of the judging was changed since the run was begun."""
        for change in changes:
            self.announce(f"what is trained is kept; judged otherwise than it was begun: {change}")


def train(config: RunConfig, origins: list[Origin], *, observers: Sequence[Observer] = ()) -> TrainingResult:
    """Train one run; the same call again resumes it, or returns the result of a finished one.

    Raises:
        DataError, ModelError, ConfigError, PreflightError: something given is wrong.
        RunDirectoryError: the directory is in use, not writable, or holds another run.
        Interrupted: stopped; a checkpoint was written.
    """
    directory = RunDirectory(config.output_dir)
    ranks = several.joined(config)
    if not ranks.leads:
        with several.together(ranks):
            return _follow(config, origins, ranks)
    directory.create()
    with several.together(ranks), locked_for(directory, config, directory.training), recorded(directory, "train"):
        judged = claim(directory, config, origins)
        context = RunContext(directory, observers, ranks=ranks)
        context.announce_judging(judged)
        if directory.training.exists():
            ranks.told(FINISHED)
            context.announce(f"{directory.path} is already finished; nothing was trained again")
            result = TrainingResult.model_validate(read_json(directory.training))
        else:
            config, splits, model = read_inputs(config, given_fields(origins), context)
            ranks.told("read")
            result = run(config, splits, model, context)
            keep_resolved(directory, config, origins, result)
            ranks.wait()
        index.finish_run(directory, "finished", {"metric": result.metric, "value": result.best_metric})
        return result


def _follow(config: RunConfig, origins: list[Origin], ranks: Ranks) -> TrainingResult:
    """What every process but the first does: the same steps on its share of the rows, writing nothing that stays."""
    first = RunDirectory(config.output_dir)
    if ranks.told("") != FINISHED:
        with tempfile.TemporaryDirectory() as own:
            context = RunContext(RunDirectory(own), save_state=False, ranks=ranks)
            config, splits, model = read_inputs(config, given_fields(origins), context)
            facts_file = first.checkpoints / "machine.json"
            facts = read_json(facts_file) if facts_file.exists() else {}
            torch.set_num_threads(config.training.num_threads or facts.get("num_threads") or torch.get_num_threads())
            prepared = prepare(
                config,
                splits,
                model,
                Path(own),
                precision=facts.get("precision"),
                ranks=ranks,
                announce=context.announce,
            )
            fit = _fit(prepared, context)
            fit.checkpoints = first.checkpoints
            if prepared.learner.masters.shards is None:
                ranks.wait()  # until the first one has removed what is damaged
                loop.resume(fit)
            else:  # what follows needs all processes
                resumed = loop.resume(fit)
                ranks.wait()
                if resumed is None:
                    _checked(prepared)
            ranks.wait()
            with interrupts.flag() as fit.stop_requested:
                for _ in loop.fit(fit):
                    pass
            prepared.close()
            ranks.wait()
    return TrainingResult.model_validate(read_json(first.training))


def read_inputs(config: RunConfig, given: set[str], context: RunContext) -> tuple[RunConfig, Splits, ResolvedModel]:
    """The rows, split, and the base model's folder; what was found is announced and the held-out rows are kept.

    The configuration comes back with the task that the rows are for, where none was among the ``given`` fields.

    Raises:
        DataError, ModelError: files or model cannot be used.
        ConfigError: the metric asked for does not fit the rows, or a check of written answers cannot be made.
    """
    load_checks(config.evaluation.checks)  # their files are opened here, not after the training
    config = with_rows(config, given)
    splits = load_splits(config.data, config.seed)
    for message in splits.announcements:
        context.announce(message)
    config = with_task(config, given, splits.columns, context.announce)
    several.refuse_unfit(config)
    deciding_metric(config, splits)  # a wrong one is refused before anything is downloaded
    held_out.write(context.directory, splits)
    model = resolve_model(config.model.source)
    for message in model.announcements:
        context.announce(message)
    return config, splits, model


class recorded:
    """Context that notes in the run's state file how the verb ended."""

    def __init__(self, directory: RunDirectory, verb: str) -> None:
        self._directory = directory
        self._verb = verb

    def __enter__(self) -> None:
        index.start_run(self._directory, self._verb)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        if kind is None:
            return
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        index.finish_run(self._directory, "interrupted" if stopped else "failed", {"error": str(error)})


def keep_resolved(
    directory: RunDirectory, config: RunConfig, origins: Sequence[Origin], result: TrainingResult
) -> None:
    """Write the configuration that was run, with what was measured or inherited in the place of what was left open.

    What was asked for stays in ``asked.json``: a start of the same command is known by it.
    """
    found: dict[str, tuple[Any, str]] = {}
    if config.training.learning_rate is None:
        found["learning_rate"] = (result.learning_rate, f"default of method {config.method.type}")
    if config.training.precision == "auto":
        found["precision"] = (result.precision, "measured on this machine")
    changes = {name: value for name, (value, _) in found.items()}
    resolved = config.model_copy(update={"training": config.training.model_copy(update=changes)})
    said = {
        f"training.{name}": Origin(field=f"training.{name}", value=str(v), origin=o) for name, (v, o) in found.items()
    }
    write_resolved(directory, resolved, [said.get(origin.field, origin) for origin in origins])


def run(config: RunConfig, splits: Splits, model: ResolvedModel, context: RunContext) -> TrainingResult:
    """Prepare, check, train, keep the best weights, export. Used by ``train`` for a run and by ``tune`` for a trial."""
    directory = context.directory
    facts_file = directory.checkpoints / "machine.json"
    facts = read_json(facts_file) if facts_file.exists() else {}
    # Sums over threads round by how many there are: a resumed run takes as many as it was begun with.
    torch.set_num_threads(config.training.num_threads or facts.get("num_threads") or torch.get_num_threads())
    prepared = prepare(
        config,
        splits,
        model,
        directory.path,
        precision=facts.get("precision"),
        ranks=context.ranks,
        announce=context.announce,
    )
    try:
        fingerprint = finish.fingerprint(prepared, model)
        if facts.get("fingerprint", fingerprint) != fingerprint:
            _start_over_or_refuse(context)
        fit = _fit(prepared, context)
        resumed = loop.resume(fit) if context.save_state else None
        context.ranks.wait()
        if resumed is None:
            facts = {"fingerprint": fingerprint, **_measured(prepared, fit, context)}
            write_json(facts_file, facts)
        else:
            context.announce(f"resumed from step {resumed}")
            if facts.get("compiled"):
                compiling.as_begun(prepared, context.announce)
        context.ranks.wait()
        with interrupts.flag() as fit.stop_requested:
            for event in loop.fit(fit):
                context.announce(event.message) if isinstance(event, Announced) else context.tell(event)
        result = _result(prepared, fit, context, facts, resumed)
        if context.export:
            result = _exported(prepared, fit, context, result, splits, model)
        return result
    finally:
        prepared.close()


def _measured(prepared: Prepared, fit: loop.Fit, context: RunContext) -> dict[str, Any]:
    """Preflight, and what is found on this machine that a resumed run takes over."""
    told, checked = _checked(prepared)
    seconds = checked.seconds_per_token * float(prepared.learner.table.lengths.sum()) * prepared.learner.passes
    forecast = seconds * fit.total_steps / fit.steps_per_epoch
    context.announce(
        f"preflight passed: first loss {checked.first_loss:.3f} ({told}: "
        f"{checked.expected_loss:.3f}), largest batch {checked.largest_batch_tokens} tokens; "
        f"forecast {forecast:.0f} s"
    )
    share = compiling.decide(prepared, forecast, context.announce)
    return {
        "precision": prepared.precision,
        "num_threads": torch.get_num_threads(),
        "first_loss": checked.first_loss,
        "compiled": share is not None,
        "forecast_seconds": forecast * (share or 1.0),
    }


def _checked(prepared: Prepared) -> tuple[str, preflight.Preflight]:
    """What the first loss was held against, and what preflight measured."""
    task = prepared.config.task.type
    told = registry.fact("task", task, "EXPECTED_LOSS_OF", preflight.KNOWS_NOTHING)
    known = prepared.expected_loss
    expected = prepared.task.expected_first_loss() if known is None else known
    return told, preflight.check(prepared.learner, prepared.config.seed, expected, told)


def _exported(
    prepared: Prepared, fit: loop.Fit, context: RunContext, result: TrainingResult, splits: Splits, model: ResolvedModel
) -> TrainingResult:
    """Write the model, what can be said of it, and the result; then the checkpoints have served."""
    directory = context.directory
    if prepared.learner.masters.shards is not None:  # what follows is the first process's alone: it needs all weights
        training = prepared.config.training.model_copy(update={"prefix_cache": "off", "device": "cpu"})
        config = prepared.config.model_copy(update={"training": training})
        prepared = prepare(config, splits, model, directory.path, precision=prepared.precision)
    kept = finish.export_best(prepared, loop.best_file(fit), model, splits, directory, context.announce)
    diagnosis = diagnose(prepared, kept, splits, result.curve, result.best_step)
    merged = merging.compared(prepared, kept, directory, context.announce)
    found = {"diagnosis": diagnosis, "quantised_base": merged, "announcements": list(context.notes)}
    result = result.model_copy(update=found)
    write_training_card(result, prepared.config, model, splits)
    write_json(directory.training, result.model_dump(mode="json"))
    shutil.rmtree(directory.checkpoints, ignore_errors=True)
    return result


def _start_over_or_refuse(context: RunContext) -> None:
    """Going on from a checkpoint of other rows, another base or other settings would mix two runs."""
    directory = context.directory
    if not context.start_over and directory.holds_work():
        raise RunDirectoryError(
            f"{directory.path} was begun with other rows or another base model",
            where="output_dir",
            why="going on would mix two runs",
            remedy="give back what it was begun with, or choose another --output-dir",
        )
    context.announce("settings or rows are others than before the interruption: training starts anew")
    shutil.rmtree(directory.checkpoints, ignore_errors=True)


def _fit(prepared: Prepared, context: RunContext) -> loop.Fit:
    return loop.Fit(
        learner=prepared.learner,
        seed=prepared.config.seed,
        metric=prepared.metric,
        validate=prepared.validate if prepared.validation.examples else None,
        checkpoints=context.directory.checkpoints,
        start_epoch=lambda epoch: prepared.method.start_epoch(prepared.network, epoch),
        save_state=context.save_state,
        max_seconds=context.max_seconds,
        fewest_epochs=context.fewest_epochs,
    )


def _result(
    prepared: Prepared, fit: loop.Fit, context: RunContext, facts: dict[str, Any], resumed: int | None
) -> TrainingResult:
    state, learner = fit.state, prepared.learner
    rows = min(
        state.step * learner.training.global_batch_rows, round(state.step / fit.steps_per_epoch * len(learner.table))
    )
    forecast = facts.get("forecast_seconds")
    return TrainingResult(
        method=prepared.config.method.type,
        steps=state.step,
        epochs=state.step / fit.steps_per_epoch,
        rows=len(learner.table),
        tokens=state.tokens,
        seconds=state.seconds,
        rows_per_second=rows / max(state.seconds, 1e-9),
        trained_parameters=learner.masters.num_parameters,
        all_parameters=count_parameters(prepared.network),
        precision=prepared.precision,
        learning_rate=learner.optimizer.learning_rate,
        metric=prepared.metric,
        best_metric=state.best_metric,
        best_step=state.best_step,
        stopped_early=state.stopped_early,
        curve=state.curve,
        forecast=None if forecast is None else Forecast(forecast_seconds=forecast, actual_seconds=state.seconds),
        prefix_cache=None if learner.cache is None else learner.cache.description,
        announcements=list(context.notes),
        resumed_from_step=resumed,
        weights_sha256=finish.weights_hash(load_file(loop.best_file(fit))),
    )
