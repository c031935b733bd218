"""Candidates on the same rows, and the verdict. Knows no model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.results.data import ColumnsFound, DataReport
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.results.measures import Difference, Measure, Result
from feinschliff.results.training import TrainingResult

VerdictWord = Literal["ship", "keep-baseline", "undecided"]


class Verdict(Result):
    """Whether to ship, with the evidence."""

    verdict: VerdictWord
    metric: str
    difference: Difference
    """Tuned minus the strongest baseline, paired on the same test rows; positive: tuned is better."""
    baseline: str
    """Name of the strongest baseline."""
    test_rows: int
    rows_needed: int | None = None
    """Where it cannot tell: about how many test rows would be needed to see a difference of this size (80% power)."""
    method: str = ""
    """Which test gave the p-value: exact McNemar, paired bootstrap."""
    sentence: str
    """The verdict in one sentence for a person."""
    caution: str = ""
    """What speaks against shipping though it does not decide: figures that are no better than the baseline's."""


class CandidateTrial(Result):
    """One recipe tried in `tune`, scored on validation rows only."""

    recipe: str
    validation_metric: float | None
    seconds: float
    chosen: bool = False
    note: str = ""
    """Why it was left out or cut short, where it was."""


class RowCounts(Result):
    """Rows on each side, and rows not used."""

    train: int
    validation: int
    test: int
    dropped: int


class Origin(Result):
    """Where one value of the configuration came from."""

    field: str
    value: str
    origin: str
    """`command line`, `run.yaml:12`, `default`, `method full`, `measured`, `found in the data` ..."""


class TuneResult(Result):
    """The answer of `tune`: what the JSON prints and the report shows."""

    verdict: VerdictWord
    metric: str
    test: dict[str, Measure]
    """Each metric of the tuned model on the test rows."""
    baselines: dict[str, dict[str, Measure]]
    """Baseline -> metric -> measure, on the same rows."""
    difference: Difference
    rows: RowCounts
    recipe: str
    seconds: float
    run: str
    """The run's directory."""
    report: str
    """Path of the HTML report."""
    model: str
    """Path of the exported model folder."""
    details: TuneDetails


class TuneDetails(Result):
    """The evidence behind a `TuneResult`; read by the report."""

    verdict: Verdict
    data: DataReport
    columns: ColumnsFound
    trials: list[CandidateTrial] = Field(default_factory=list)
    training: TrainingResult | None = None
    evaluation: EvaluationResult
    baseline_evaluation: EvaluationResult | None = None
    """The strongest baseline in full."""
    origins: list[Origin] = Field(default_factory=list)
    announcements: list[str] = Field(default_factory=list)
    base_model: str = ""
    base_license: str = ""
    seed: int = 0
    dropped_reasons: dict[str, int] = Field(default_factory=dict)
    forecast_seconds: float | None = None
    actual_seconds: float | None = None
    machine: str = ""
    versions: dict[str, str] = Field(default_factory=dict)


TuneResult.model_rebuild()
