"""How a model is judged. Knows no model."""

from __future__ import annotations

from pydantic import Field

from feinschliff.config.bases import Config


class EvaluationConfig(Config):
    """Metrics and their intervals."""

    metric: str | None = None
    """The metric that decides; None: the task's (accuracy; macro F1 of very uneven classes; micro F1 multi-label)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Coverage of every interval."""
    bootstrap_samples: int = Field(default=2000, ge=100, le=100000)
    """Resamples of a bootstrap interval."""
    worst_examples: int = Field(default=20, ge=0, le=1000)
    """How many of the most confidently wrong rows are listed."""
