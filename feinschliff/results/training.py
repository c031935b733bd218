"""What a training run gives back. Knows no loop."""

from __future__ import annotations

from pydantic import Field

from feinschliff.results.measures import Result


class CurvePoint(Result):
    """One point of the curves."""

    step: int
    epoch: float
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_metric: float | None = None
    learning_rate: float | None = None


class Forecast(Result):
    """Time said at the start beside what came true (seconds)."""

    forecast_seconds: float
    actual_seconds: float


class TrainingResult(Result):
    """One finished run."""

    method: str
    """The method's `type`."""
    steps: int
    epochs: float
    rows: int
    tokens: int
    seconds: float
    """Seconds in the loop, over all resumed parts."""
    rows_per_second: float
    trained_parameters: int
    all_parameters: int
    precision: str
    learning_rate: float | None = None
    """The peak rate that was used."""
    metric: str
    """Name of the validation metric."""
    best_metric: float | None
    best_step: int
    stopped_early: bool
    curve: list[CurvePoint] = Field(default_factory=list)
    forecast: Forecast | None = None
    prefix_cache: str | None = None
    """What the cache held, where there was one."""
    announcements: list[str] = Field(default_factory=list)
    """Every choice that was made for the person, with its reason."""
    resumed_from_step: int | None = None
    weights_sha256: str = ""
    """Hash over the kept weights, for comparing runs to the bit."""
