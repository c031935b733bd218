"""What long work, the loop above all, tells whoever watches: frozen facts, in order. Knows no observer of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepEnded:
    """One optimizer step is done."""

    step: int
    """Steps done so far, this one included."""
    total_steps: int
    epoch: float
    """Passes over the training rows so far."""
    loss: float
    """Mean over the step's targets."""
    learning_rate: float
    """Of the body, in this step."""
    rows: int
    """Rows of this step."""
    tokens: int
    """Tokens of this step, without padding."""
    rows_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The validation rows were scored."""

    step: int
    epoch: float
    loss: float
    metric_name: str
    metric: float
    best: bool
    """Whether this is the best so far."""


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """The whole state is safely on disk."""

    step: int
    path: str


@dataclass(frozen=True, slots=True)
class Announced:
    """A choice that was made for the person, with its reason."""

    message: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The loop is over."""

    step: int
    seconds: float
    """In the loop, over all resumed parts."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """Rows done of work outside the loop: embedding, scoring."""

    work: str
    done: int
    total: int


Event = StepEnded | Evaluated | CheckpointSaved | Announced | Progressed | RunEnded
