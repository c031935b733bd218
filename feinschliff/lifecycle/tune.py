"""The verb ``tune``: from a data file to a verdict. Check, split, compare recipes, train, judge once on the test rows.

Killed at any moment, the same command goes on: finished trials are read, the run resumes from its checkpoint.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from feinschliff import registry
from feinschliff.config.generation import WritingPrecision
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Splits
from feinschliff.data.quality import check
from feinschliff.data.sources import sha256_of_sources
from feinschliff.errors import ConfigError, DataError
from feinschliff.lifecycle import few_rows
from feinschliff.lifecycle.cards import versions, write_model_card
from feinschliff.lifecycle.claims import claim, locked_for
from feinschliff.lifecycle.embedding import FrozenEncoder
from feinschliff.lifecycle.judge import EndpointJudge, beside, compared, deciding
from feinschliff.lifecycle.observing import Observer, counted
from feinschliff.lifecycle.prepare import context_of, deciding_metric
from feinschliff.lifecycle.recipes import Recipe, candidates, for_language_models, given_fields, origins_of, usable
from feinschliff.lifecycle.regularise import learning_metric
from feinschliff.lifecycle.several import refuse_several
from feinschliff.lifecycle.train import RunContext, keep_resolved, read_inputs, recorded
from feinschliff.lifecycle.trials import Choice, Search, choose_and_train, forecast
from feinschliff.models.sources import ResolvedModel
from feinschliff.predictor import Predictor, refuse_empty
from feinschliff.reports.pages import write_report
from feinschliff.results.comparison import CandidateTrial, Origin, RowCounts, TuneDetails, TuneResult, Verdict
from feinschliff.results.data import DataReport
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.results.formats import LIKELIHOOD_METRICS, goodness
from feinschliff.results.judged import PREFERENCE
from feinschliff.results.verdicts import caution, verdict
from feinschliff.store import index
from feinschliff.store.run_directory import RunDirectory, read_json, write_json
from feinschliff.tasks._task import Rival

DEFAULT_BUDGET_SECONDS = 600.0
JUDGING_FORWARDS = 3
"""Passes over a test row: by the tuned model, by its rivals, and something to spare."""
PROBE_ROWS = 20_000
"""The probe is fitted on at most so many training rows; more change a linear model little."""


@dataclass(slots=True)
class Inputs:
    """What a tune run works on."""

    config: RunConfig
    origins: list[Origin]
    splits: Splits
    model: ResolvedModel
    context: RunContext
    begin: float
    budget_seconds: float
    judge: EndpointJudge | None = None
    precision: WritingPrecision = "auto"
    """What the base model, where it is a language model, is judged in, and so the tuned one too."""


def tune(
    config: RunConfig,
    origins: list[Origin],
    *,
    budget_seconds: float | None = None,
    observers: Sequence[Observer] = (),
) -> TuneResult:
    """The main job. The same call again resumes, or returns the result of a finished run.

    Raises:
        InputError: data, model, configuration or directory cannot be used.
        Interrupted: stopped; what is done is kept.
    """
    refuse_several("tune")
    directory = RunDirectory(config.output_dir)
    directory.create()
    begin = time.perf_counter()
    with locked_for(directory, config, directory.result), recorded(directory, "tune"):
        judged = claim(directory, config, origins)
        context = RunContext(directory, observers, start_over=True)
        context.announce_judging(judged)
        if directory.result.exists():
            context.announce(f"{directory.path} is already finished; this is its result")
            result = TuneResult.model_validate(read_json(directory.result))
            _note_finished(directory, result)
            return result
        budget = DEFAULT_BUDGET_SECONDS if budget_seconds is None else budget_seconds
        context.announce(f"budget {budget:.0f} s: " + ("default" if budget_seconds is None else "as asked"))
        given = given_fields(origins)
        config, splits, model = read_inputs(config, given, context)
        if few_rows.are_few(config, splits, given):
            splits = few_rows.joined(splits)
            context.announce(
                f"{len(splits.train)} rows are too few to spare any for choosing: all are trained on, by one recipe"
            )
        judge = EndpointJudge(config.evaluation) if config.evaluation.judge_url else None
        inputs = Inputs(config, origins, splits, model, context, begin, budget, judge)
        result = _tune(inputs)
        finish(directory, result)
        return result


def finish(directory: RunDirectory, result: TuneResult) -> None:
    """Write report, result and state."""
    write_report(result, directory.path)
    write_json(directory.result, result.model_dump(mode="json"))
    _note_finished(directory, result)


def _note_finished(directory: RunDirectory, result: TuneResult) -> None:
    measure = result.test[result.metric]
    facts = {"metric": result.metric, "value": measure.value, "verdict": result.verdict, "seconds": result.seconds}
    index.finish_run(directory, "finished", facts)


def _tune(inputs: Inputs) -> TuneResult:
    """Look at the data with the frozen model, choose, train, judge."""
    config, splits, context = inputs.config, inputs.splits, inputs.context
    clock = time.perf_counter()
    frozen = FrozenEncoder(config, inputs.model, context_of(config, splits), context.observers)
    if registry.says("task", config.task.type, "CONTINUES_TEXTS"):
        inputs.precision = frozen.precision
        _refuse_unmeasurable(inputs, frozen)
    seconds_to_load = time.perf_counter() - clock
    clock = time.perf_counter()
    rivals = _rivals(inputs, frozen)
    seconds_per_forward = frozen.seconds_per_forward
    data = _data_report(inputs, frozen)
    seconds = time.perf_counter() - clock
    trials = [_strongest_trial(rivals[-1], inputs, frozen, seconds)] if splits.validation else []
    judging = JUDGING_FORWARDS * seconds_per_forward * len(splits.test) + seconds_to_load + _to_write(inputs, rivals)
    search = Search(
        config,
        given_fields(inputs.origins),
        splits,
        inputs.model,
        context,
        seconds_per_forward,
        inputs.budget_seconds - (time.perf_counter() - inputs.begin) - judging,
        _chosen_by(inputs),
    )
    recipes = _recipes(inputs, frozen, search.given)
    said = time.perf_counter() - inputs.begin + forecast(search, recipes, seconds_to_load) + judging
    context.announce(f"forecast: {said:.0f} s from start to verdict")
    choice = choose_and_train(search, recipes)
    choice.trials[:0] = trials
    return _judged(inputs, rivals, data, choice, said)


def _refuse_unmeasurable(inputs: Inputs, frozen: FrozenEncoder) -> None:
    """Before any training.

    Raises:
        DataError: no test row, or no validation row, has anything to be judged by, or none can be asked where what is
            written decides.
    """
    splits = inputs.splits
    for rows in (splits.validation, splits.test):
        if rows:
            refuse_empty(frozen.task.encode(rows, frozen.max_length_tokens))
    metric, _ = deciding_metric(inputs.config, splits)
    if metric not in LIKELIHOOD_METRICS:
        found, why = frozen.task.can_ask(splits.test)
        if not found:
            raise _nothing_written(metric, why)


def _nothing_written(metric: str, why: Sequence[str]) -> DataError:
    return DataError(
        f"{metric} is to decide, and no test row can be answered in writing",
        where="evaluation.metric",
        why="; ".join(why) or None,
        remedy=f"give test rows that can be asked, or let one of these decide: {', '.join(LIKELIHOOD_METRICS)}",
    )


def _to_write(inputs: Inputs, rivals: Sequence[Rival]) -> float:
    """Seconds for the written answers of both models."""
    rows = min(inputs.config.evaluation.written_rows, len(inputs.splits.test))
    if not rows or not registry.says("task", inputs.config.task.type, "CONTINUES_TEXTS"):
        return 0.0
    seconds: float = rivals[-1].seconds_to_write(rows)  # type: ignore[attr-defined]
    return 2 * seconds


def _recipes(inputs: Inputs, frozen: FrozenEncoder, given: set[str]) -> list[Recipe]:
    """What is tried.

    Raises:
        ConfigError: several recipes, and no validation rows to choose by.
    """
    config, splits = inputs.config, inputs.splits
    if few_rows.are_few(config, splits, given):
        return [few_rows.recipe()]
    factor = registry.number("task", config.task.type, "RATE_FACTOR", 1.0)
    if registry.says("task", config.task.type, "CONTINUES_TEXTS"):
        return usable(for_language_models(len(splits.train)), config, given)
    recipes = usable(candidates(frozen.num_layers, frozen.has_linear_layers, factor), config, given)
    if not splits.validation and len(recipes) > 1:
        raise ConfigError(
            "there are no validation rows to choose a recipe by",
            where="data.validation_fraction",
            why=f"{len(recipes)} recipes could be trained: {', '.join(recipe.name for recipe in recipes)}",
            remedy="spare some rows, or say what to train (`feinschliff train`, or --method.type lora)",
        )
    return recipes


def _rivals(inputs: Inputs, frozen: FrozenEncoder) -> list[Rival]:
    """Baselines, fitted on the training rows."""
    splits, seed = inputs.splits, inputs.config.seed
    rows = splits.train
    if len(rows) > PROBE_ROWS:
        picked = np.random.default_rng([seed, 0x9B]).permutation(len(rows))[:PROBE_ROWS]
        rows = [splits.train[row] for row in np.sort(picked).tolist()]
        inputs.context.announce(f"the probe is fitted on {PROBE_ROWS} of {len(splits.train)} training rows")
    fitted: list[Rival] = frozen.task.rivals(frozen, rows, seed, inputs.context.announce)
    return fitted


def _data_report(inputs: Inputs, frozen: FrozenEncoder) -> DataReport:
    directory = inputs.context.directory
    data = inputs.config.data
    if directory.data_report.exists():
        earlier = DataReport.model_validate(read_json(directory.data_report))
        if earlier.sha256 == sha256_of_sources([*data.train, *data.validation, *data.test]):
            return earlier
    report = check(data, frozen.hooks(), inputs.config.seed)
    write_json(directory.data_report, report.model_dump(mode="json"))
    for finding in report.findings:
        if finding.severity != "info":
            inputs.context.announce(f"data: {finding.message}")
    return report


def _strongest_trial(rival: Rival, inputs: Inputs, frozen: FrozenEncoder, seconds: float) -> CandidateTrial:
    """The strongest cheap rival on the validation rows."""
    rows = inputs.splits.validation
    value = frozen.task.score(rival.answers(rows), rows, _chosen_by(inputs))
    return CandidateTrial(recipe=rival.name, validation_metric=value, seconds=seconds, note=f"baseline; {rival.note}")


def _chosen_by(inputs: Inputs) -> str:
    """The metric on validation rows."""
    metric, _ = deciding_metric(inputs.config, inputs.splits)
    return learning_metric(inputs.config, metric, inputs.splits.columns.kind)


@dataclass(slots=True)
class Judged:
    """What the one look at the test rows showed."""

    evaluation: EvaluationResult
    rivals: dict[str, EvaluationResult]
    strongest: str
    verdict: Verdict


def _judged(inputs: Inputs, rivals: Sequence[Rival], data: DataReport, choice: Choice, forecast: float) -> TuneResult:
    """The verdict, and everything that led to it."""
    splits, directory = inputs.splits, inputs.context.directory
    judged = _look_at_test(inputs, rivals)
    seconds = time.perf_counter() - inputs.begin
    result = TuneResult(
        verdict=judged.verdict.verdict,
        metric=judged.evaluation.metric,
        test=judged.evaluation.metrics,
        baselines={name: evaluation.metrics for name, evaluation in judged.rivals.items()},
        difference=judged.verdict.difference,
        rows=RowCounts(
            train=len(splits.train),
            validation=len(splits.validation),
            test=len(splits.test),
            dropped=len(splits.dropped),
        ),
        recipe=choice.recipe.name,
        seconds=seconds,
        run=str(directory.path),
        report=str(directory.report),
        model=str(directory.model),
        details=_details(inputs, judged, data, choice, forecast, seconds),
    )
    keep_resolved(directory, choice.config, result.details.origins, choice.training)
    write_model_card(result, choice.config, inputs.model)
    return result


def _look_at_test(inputs: Inputs, rivals: Sequence[Rival]) -> Judged:
    """The one look at the test rows: the tuned model and its rivals on the same rows."""
    asked, rows = inputs.config.evaluation, inputs.splits.test
    training = inputs.config.training
    predictor = Predictor(inputs.context.directory.path, precision=inputs.precision, device=training.device)
    task, (decides, _) = predictor.task, deciding_metric(inputs.config, inputs.splits)
    metric = predictor.facts.metric if decides == PREFERENCE else decides
    written = min(asked.written_rows, len(rows)) if predictor.writes else 0
    watched = inputs.context.observers
    scored = predictor.score(
        rows, counted(watched, "scoring", len(rows)), written, counted(watched, "writing", written)
    )
    evaluation = _measured(task.judge(scored.answers, rows, metric, asked), metric)
    notes = [f"test rows: {note}" for note in scored.notes]
    evaluation = evaluation.model_copy(update={"notes": [*notes, *evaluation.notes]})
    answers = {rival.name: rival.answers(rows) for rival in rivals}
    if written:
        for rival in rivals:
            on_rows = counted(watched, f"writing, {rival.name}", written)
            answers[rival.name] = rival.in_writing(answers[rival.name], rows, written, on_rows)  # type: ignore[attr-defined]
    judged = {name: task.judge(theirs, rows, metric, asked) for name, theirs in answers.items()}
    strongest = max(judged, key=lambda name: goodness(metric, judged[name].metrics[metric].value))
    evaluation = beside(evaluation, judged[strongest])
    evidence = task.compare(metric, strongest, rows, scored.answers, answers[strongest], asked)
    if inputs.judge is not None:
        pairs = task.side_by_side(scored.answers, answers[strongest], rows)
        found = compared(inputs.judge, pairs, strongest, inputs.context.observers)
        evaluation, judged[strongest] = found.on(evaluation), found.on_baseline(judged[strongest])
        if decides == PREFERENCE:
            evidence = found.evidence()
            evaluation = deciding(evaluation, PREFERENCE)
    theirs = [note for note in judged[strongest].notes if note not in evaluation.notes]
    for note in [*evaluation.notes, *(f"{strongest}: {note}" for note in theirs)]:
        inputs.context.announce(note)
    found_verdict = verdict(evidence)
    if written and found_verdict.verdict == "ship":
        names = [name for name in (*task.names_of_checks(asked, rows), PREFERENCE) if name != evaluation.metric]
        said = caution(evaluation.metrics, judged[strongest].metrics, names, len(scored.answers.comparable(rows)))
        found_verdict = found_verdict.model_copy(update={"caution": said})
    return Judged(evaluation, judged, strongest, found_verdict)


def _measured(evaluation: EvaluationResult, metric: str) -> EvaluationResult:
    """The same, where it has what is to decide.

    Raises:
        DataError: no test row was answered in writing.
    """
    if evaluation.metric != metric:
        raise _nothing_written(metric, evaluation.notes)
    return evaluation


def _details(
    inputs: Inputs, judged: Judged, data: DataReport, choice: Choice, forecast: float, seconds: float
) -> TuneDetails:
    """What the report tells beyond the verdict."""
    splits = inputs.splits
    return TuneDetails(
        verdict=judged.verdict,
        data=data,
        columns=splits.columns,
        trials=choice.trials,
        training=choice.training,
        evaluation=judged.evaluation,
        baseline_evaluation=judged.rivals[judged.strongest],
        origins=origins_of(inputs.origins, choice.recipe, choice.config, given_fields(inputs.origins)),
        announcements=inputs.context.notes,
        base_model=inputs.model.name,
        base_license=inputs.model.license or "unknown",
        seed=inputs.config.seed,
        dropped_reasons=dict(Counter(row.reason.split(":")[0] for row in splits.dropped)),
        forecast_seconds=forecast,
        actual_seconds=seconds,
        machine=f"{platform.machine()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        versions=versions(),
    )
