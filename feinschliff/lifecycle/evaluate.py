"""The verb ``evaluate``: a finished run on labelled rows, its own held-out ones or a file's; with a page to read."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.data.load import load_examples
from feinschliff.errors import DataError, InputError
from feinschliff.lifecycle import held_out
from feinschliff.lifecycle.judge import judge
from feinschliff.lifecycle.observing import Observer, counted
from feinschliff.predictor import ModelFacts, Predictor
from feinschliff.reports.pages import write_report
from feinschliff.results.data import ColumnsFound
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.store.run_directory import RunDirectory, write_json


def evaluate(
    run: Path,
    sources: Sequence[str] = (),
    *,
    text_columns: Sequence[str] = (),
    target: str | None = None,
    observers: Sequence[Observer] = (),
) -> EvaluationResult:
    """Judge a run's model. Without sources, on the rows that the run held out. The run gets a report of it.

    Args:
        text_columns, target: of the sources, where they are named otherwise than in the run's own data.

    Raises:
        RunDirectoryError: there is no finished model.
        DataError: the file cannot be read, has no labels, or has labels that the model does not know.
    """
    predictor = Predictor(run)
    facts, notes = predictor.facts, []
    if sources:
        examples, dropped, said = load_examples(
            list(sources),
            DataConfig(),
            columns_of(facts, text_columns, target),
            known_labels=set(facts.label_names),
            why="the run was trained with it (for another column: --text COLUMN, --target COLUMN)",
        )
        notes += said
        if dropped:
            reasons = "; ".join(sorted({row.reason for row in dropped})[:3])
            notes.append(f"{len(dropped)} rows were left out: {reasons}")
    else:
        examples = held_out.read(RunDirectory(run))
        notes.append("the rows that this run held out")
    if not examples:
        raise DataError("there are no rows to evaluate on", where=", ".join(sources) or str(run))
    begin = time.perf_counter()
    scores = predictor.probabilities(examples, counted(observers, "scoring", len(examples)))
    seconds = time.perf_counter() - begin
    config = EvaluationConfig()
    result = judge(scores, predictor.decide(scores), examples, facts.label_names, facts.metric, config)
    result = result.model_copy(update={"rows_per_second": len(examples) / max(seconds, 1e-9), "notes": notes})
    return _reported(result, run, sources)


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


def columns_of(facts: ModelFacts, text_columns: Sequence[str] = (), target: str | None = None) -> ColumnsFound:
    """The columns a run was trained with, or those named instead.

    Raises:
        DataError: one text column is named for pairs, or two for single texts.
    """
    if text_columns and len(text_columns) != facts.num_texts:
        raise DataError(
            f"{len(text_columns)} text columns for a model that reads {facts.num_texts}",
            where="--text",
            remedy=f"name {facts.num_texts}: its own were {', '.join(facts.text_columns)}",
        )
    return ColumnsFound(
        text=list(text_columns or facts.text_columns),
        target=target or facts.target_column,
        label_separator=facts.label_separator,
        kind="multi_label" if facts.multi_label else "single_label",
    )
