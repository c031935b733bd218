"""The verb ``evaluate``: a finished run on labelled rows, its own held-out ones or a file's; with a page to read."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feinschliff import registry
from feinschliff.config.data import DataConfig
from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.generation import WritingPrecision
from feinschliff.config.training import TrainingConfig
from feinschliff.data.examples import Example
from feinschliff.data.load import load_examples
from feinschliff.errors import ConfigError, DataError, InputError, RunDirectoryError
from feinschliff.lifecycle import held_out
from feinschliff.lifecycle.against_base import changed, judge_of
from feinschliff.lifecycle.judge import beside, compared, deciding
from feinschliff.lifecycle.observing import Observer, counted
from feinschliff.predictor import ModelFacts, Predictor, model_folder
from feinschliff.reports.pages import write_report
from feinschliff.results.checkers import DEFAULT_NAME as DEFAULT_CHECK
from feinschliff.results.checkers import WHERE as WHERE_OF_CHECKS
from feinschliff.results.checkers import load_checks
from feinschliff.results.data import ColumnsFound
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.results.judged import PREFERENCE
from feinschliff.store.run_directory import RunDirectory, read_json, write_json


def evaluate(
    run: Path,
    sources: Sequence[str] = (),
    *,
    text_columns: Sequence[str] = (),
    target: str | None = None,
    reading: DataConfig | None = None,
    observers: Sequence[Observer] = (),
    changes: Mapping[str, Any] | None = None,
) -> EvaluationResult:
    """Judge a run's model. Without sources, on the rows that the run held out. The run gets a report of it.

    Args:
        text_columns, target: of the sources, where they are named otherwise than in the run's own data.
        reading: encoding, delimiter, header and label separator of the sources, where they are not to be found.
        changes: fields of ``EvaluationConfig`` that are to be others than those of the run.

    Raises:
        ConfigError: ``changes`` do not hold, ask for checks or a judge where nothing is written, or for checks that
            cannot be made.
        InputError: the judge's endpoint refuses the key, the model or the request, or cannot be reached.
        RunDirectoryError: there is no finished model, or the run's configuration cannot be read.
        DataError: the file cannot be read, has no labels, or has labels that the model does not know.
    """
    predictor = Predictor(run, precision=_precision_of(run))
    facts, config = predictor.facts, changed(_asked_of(run), changes or {})
    _refuse_checks(config, changes or {}, writes=predictor.writes)
    judge = judge_of(run, config, writes=predictor.writes)
    if sources:
        reading = reading or DataConfig()
        columns = columns_of(facts.columns, text_columns, target, reading.label_separator)
        examples, notes = _labelled(sources, reading, columns, facts)
    else:
        examples, notes = held_out.read(RunDirectory(run)), ["the rows that this run held out"]
    if not examples:
        raise DataError("there are no rows to evaluate on", where=", ".join(sources) or str(run))
    config, told = _first(config, changes or {}, _known(config, predictor, examples))
    begin = time.perf_counter()
    written = min(config.written_rows, len(examples))
    on_rows, on_written = counted(observers, "scoring", len(examples)), counted(observers, "writing", written)
    scored = predictor.score(examples, on_rows, written, on_written)
    seconds = time.perf_counter() - begin
    metric = facts.metric if config.metric in (None, PREFERENCE) else str(config.metric)
    result = predictor.task.judge(scored.answers, examples, metric, config)
    said = [*notes, *told, *scored.notes, *result.notes]
    found = {"rows_per_second": len(examples) / max(seconds, 1e-9), "notes": said}
    result = result.model_copy(update=found)
    if judge is not None:
        base = judge.in_precision(predictor.precision)
        rival, theirs = base.base_answers(examples, facts.context, config.written_rows, observers)
        pairs = predictor.task.side_by_side(scored.answers, theirs, examples)
        result = beside(result, predictor.task.judge(theirs, examples, metric, config))
        result = compared(judge.endpoint, pairs, rival, observers).on(result)
    return _reported(deciding(result, config.metric or metric), run, sources)


def _asked_of(run: Path) -> EvaluationConfig:
    """How the run itself is judged; a model folder without its run is judged by the defaults.

    Raises:
        RunDirectoryError: the run's configuration is missing or damaged.
    """
    directory = RunDirectory(run)
    if not directory.state.exists():  # a mere model folder: its config.json is that of transformers
        return EvaluationConfig()
    try:
        return EvaluationConfig.model_validate(read_json(directory.config)["evaluation"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _unreadable(directory, error) from error


def _unreadable(directory: RunDirectory, error: Exception) -> RunDirectoryError:
    return RunDirectoryError(
        f"{directory.config} does not say how the run is judged",
        why=str(error),
        remedy=f"evaluate its model alone, by the defaults: {directory.model}",
    )


def _precision_of(run: Path) -> WritingPrecision:
    """What a language model was trained and judged in; of a mere model folder, and of other models, nothing is said."""
    directory = RunDirectory(run)
    task = ModelFacts.read(model_folder(run)).task["type"]
    if not directory.state.exists() or not registry.says("task", task, "CONTINUES_TEXTS"):
        return "auto"
    try:
        return TrainingConfig.model_validate(read_json(directory.config)["training"]).precision
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _unreadable(directory, error) from error


def _refuse_checks(config: EvaluationConfig, changes: Mapping[str, Any], *, writes: bool) -> None:
    """Before any row is answered: their files are opened here."""
    if writes:
        load_checks(config.checks)
    elif changes.get("checks"):
        why, remedy = "checks look at answers that language models write to conversations", "leave the checks out"
        raise ConfigError("this run writes no answers", where=WHERE_OF_CHECKS, why=why, remedy=remedy)


def _known(config: EvaluationConfig, predictor: Predictor, examples: Sequence[Example]) -> list[str]:
    """Metrics that can stand first."""
    known = [*predictor.task.deciding_metrics(), predictor.facts.metric]
    if predictor.writes:
        known += [*predictor.task.names_of_checks(config, examples), DEFAULT_CHECK]
    return list(dict.fromkeys(known))


def _first(
    config: EvaluationConfig, changes: Mapping[str, Any], known: Sequence[str]
) -> tuple[EvaluationConfig, list[str]]:
    """The configuration with a metric that is measured, and what is to be said of that.

    Raises:
        ConfigError: a metric is asked for that there is not.
    """
    metric = config.metric
    if metric is None or metric in known:
        return config, []
    if "checks" not in changes or "metric" in changes:
        raise ConfigError(
            f"there is no metric {metric!r} of this model",
            where="evaluation.metric",
            remedy=f"one of: {', '.join(known)}",
        )
    said = f"{metric} decided of the run, and is none of the checks that are asked for now"
    return config.model_copy(update={"metric": None}), [said]


def _labelled(
    sources: Sequence[str], reading: DataConfig, columns: ColumnsFound, facts: ModelFacts
) -> tuple[list[Example], list[str]]:
    """The rows of the sources, and what is worth knowing of them."""
    examples, dropped, notes = load_examples(
        list(sources),
        reading,
        columns,
        known_labels=set(facts.context.label_names),
        why="the run was trained with it (for another column: --text COLUMN, --target COLUMN)",
    )
    if dropped:
        reasons = "; ".join(sorted({row.reason for row in dropped})[:3])
        notes = [*notes, f"{len(dropped)} rows were left out: {reasons}"]
    return examples, notes


def _reported(result: EvaluationResult, run: Path, sources: Sequence[str]) -> EvaluationResult:
    """Write page and figures into the run; the same file again replaces them. A mere model folder stays as it is."""
    directory = RunDirectory(run)
    if not directory.state.exists():
        return result
    name = "+".join(re.sub(r"[^\w.-]+", "-", Path(source).name) for source in sources)[:80] or "held-out"
    folder = RunDirectory(directory.evaluations / name)
    result = result.model_copy(update={"report": str(folder.report)})
    try:
        write_report(result, folder.path)
        write_json(folder.result, result.model_dump(mode="json"))
    except InputError as error:
        notes = [*result.notes, f"no report: {error.faults[0].what} ({error.faults[0].why})"]
        return result.model_copy(update={"report": None, "notes": notes})
    return result


def columns_of(
    trained: ColumnsFound,
    text_columns: Sequence[str] = (),
    target: str | None = None,
    label_separator: str | None = None,
) -> ColumnsFound:
    """The columns a run was trained with, or those named instead.

    Raises:
        DataError: one text column is named for pairs, or two for single texts; or labels are to be separated, but the
            model gives each row one.
    """
    if trained.numbers and len(text_columns) in (0, len(trained.numbers)):
        trained = trained.model_copy(update={"numbers": list(text_columns or trained.numbers)})
        text_columns = ()
    if text_columns and len(text_columns) != len(trained.text):
        own = trained.numbers or trained.text
        raise DataError(
            f"{len(text_columns)} text columns for a model that reads {len(own)}",
            where="--text",
            remedy=f"name {len(own)}: its own were {', '.join(own)}",
        )
    if label_separator and trained.kind != "multi_label":
        raise DataError(
            f"{label_separator!r} between labels for a model that gives each row one label",
            where="--label-separator",
            remedy="leave it out: a cell is one label",
        )
    return trained.model_copy(
        update={
            "text": list(text_columns or trained.text),
            "target": target or trained.target,
            "values": [target] if target and trained.values else trained.values,
            "label_separator": label_separator or trained.label_separator,
            "group": None,
            "time": None,
        }
    )
