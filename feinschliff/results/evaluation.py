"""What an evaluation found: metrics with intervals, per class or target, calibration, worst rows. Knows no model."""

from __future__ import annotations

from pydantic import Field

from feinschliff.results.data import RowRef
from feinschliff.results.judged import Judgement
from feinschliff.results.measures import Measure, Result


class ClassResult(Result):
    """One class of the per-class table."""

    label: str
    support: int
    """Rows whose reference is this class."""
    predicted: int
    """Rows given this class."""
    precision: Measure
    recall: Measure
    f1: float


class CalibrationBin(Result):
    """One bar of the reliability diagram."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean predicted probability in the bin."""
    accuracy: float
    """Share of the bin that was right."""


class Calibration(Result):
    """Reliability diagram and expected calibration error (Guo et al. 2017)."""

    ece: float
    bins: list[CalibrationBin]


class WrongRow(Result):
    """A row that is confidently wrong, or (numbers) far off."""

    row: RowRef
    reference: str
    prediction: str
    confidence: float | None = None
    """Probability of what was predicted; None where predictions are no probabilities."""
    error: float | None = None
    """Numbers: the absolute error, in units of the target; of several targets, in standard deviations."""


class WrittenRow(Result):
    """What a language model answered, beside what it should have."""

    row: RowRef
    prompt: str
    """Beginning and end, where it is long; so of the answers."""
    reference: str
    written: str
    baseline: str | None = None
    """What the base model answered."""
    checks: dict[str, float] = Field(default_factory=dict)
    """What each check says of it, 0 to 1."""


MAX_POINTS = 500
"""Rows of a target that a scatter plot shows."""


class TargetResult(Result):
    """One target of a regression."""

    name: str
    rows: int
    """Rows that have the target."""
    metrics: dict[str, Measure]
    points: list[tuple[float, float]] = Field(default_factory=list)
    """(reference, prediction) of at most :data:`MAX_POINTS` rows, drawn at random."""


class EvaluationResult(Result):
    """A model on a set."""

    rows: int
    metric: str
    """Name of the deciding metric, a key of `metrics`."""
    metrics: dict[str, Measure]
    confidence: float
    """Coverage of every interval in this result."""
    labels: list[str] = Field(default_factory=list)
    confusion: list[list[int]] | None = None
    """[reference][prediction] counts in the order of `labels`; None for several labels a row."""
    classes: list[ClassResult] = Field(default_factory=list)
    """Per class; for entities per type (support and predicted are then entities)."""
    targets: list[TargetResult] = Field(default_factory=list)
    """Per target of a regression."""
    calibration: Calibration | None = None
    worst: list[WrongRow] = Field(default_factory=list)
    written: list[WrittenRow] = Field(default_factory=list)
    """Answers in the order of the rows, where texts are written."""
    judged: Judgement | None = None
    """What a judge said of the written answers, where one was asked."""
    rows_per_second: float | None = None
    notes: list[str] = Field(default_factory=list)
    """What was cut, left out or otherwise worth knowing."""
    report: str | None = None
    """The page of this evaluation, where one was written."""
