"""How a model is judged. Knows no model."""

from __future__ import annotations

from pydantic import Field, field_validator

from feinschliff.config.bases import Config
from feinschliff.results.checkers import syntax_faults, whole_checks


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
    written_rows: int = Field(default=32, ge=0)
    """How many held-out rows a language model answers in writing, to be read and checked; likelihoods are taken of all.
    """
    checks: tuple[str, ...] = ()
    """Checks of written answers, each a metric by its name: `NAME=KIND` or `NAME=KIND:ARGUMENT`. Comparing with the
    reference: `after:####`, `boxed`, `last_number`, `choice:ABCD`, `extract:REGEX` (its group), `json_field:PATH`.
    Looking at the answer alone: `regex:REGEX`, `json`, `json_schema:FILE`. A function of your own:
    `python:FILE.py:FUNCTION`. Empty: what the references mark (`####`, `\\boxed{}`), if they do."""

    @field_validator("checks")
    @classmethod
    def _can_be_made(cls, checks: tuple[str, ...]) -> tuple[str, ...]:
        whole = whole_checks(checks)
        faults = syntax_faults(whole)
        if faults:
            told = (f"{fault.what}: {fault.why}" + f" ({fault.remedy})" * bool(fault.remedy) for fault in faults)
            raise ValueError("\n       ".join(told))
        return whole
