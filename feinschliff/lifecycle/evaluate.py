"""The verb ``evaluate``: a finished run on labelled rows, its own held-out ones or a file's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feinschliff.config.data import DataConfig
from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.data.load import load_examples
from feinschliff.errors import DataError
from feinschliff.lifecycle import held_out
from feinschliff.lifecycle.judge import judge
from feinschliff.predictor import ModelFacts, Predictor
from feinschliff.results.data import ColumnsFound
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.store.run_directory import RunDirectory


def evaluate(run: Path, sources: Sequence[str] = (), *, observers: Sequence[Any] = ()) -> EvaluationResult:
    """Judge a run's model. Without sources, on the rows that the run held out.

    Raises:
        RunDirectoryError: there is no finished model.
        DataError: the file cannot be read, has no labels, or has labels that the model does not know.
    """
    predictor = Predictor(run)
    facts, notes = predictor.facts, []
    if sources:
        examples, dropped, said = load_examples(
            list(sources), DataConfig(), columns_of(facts), known_labels=set(facts.label_names)
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
    scores = predictor.probabilities(examples)
    seconds = time.perf_counter() - begin
    config = EvaluationConfig()
    result = judge(scores, predictor.decide(scores), examples, facts.label_names, facts.metric, config)
    return result.model_copy(update={"rows_per_second": len(examples) / max(seconds, 1e-9), "notes": notes})


def columns_of(facts: ModelFacts) -> ColumnsFound:
    """The columns a run was trained with."""
    return ColumnsFound(
        text=list(facts.text_columns),
        target=facts.target_column,
        label_separator=facts.label_separator,
        kind="multi_label" if facts.multi_label else "single_label",
    )
