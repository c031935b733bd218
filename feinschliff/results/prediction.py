"""What ``predict`` and ``export`` give back. Knows no model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.results.measures import Result

INPUT = "input"
"""In the place of a file's name: texts that were given on the command line or in a pipe."""


class PredictedSpan(Result):
    """A labelled piece of a text."""

    start: int
    end: int
    """Characters of the text, from `start` up to, not including, `end`."""
    label: str
    text: str
    score: float
    """Mean probability of its words' tags."""


class PredictionResult(Result):
    """The answer for one text or pair."""

    text: str
    labels: list[str] = Field(default_factory=list)
    """The label given; several, or none, where rows carry several labels."""
    score: float | None = None
    """Probability of the (most probable) label given."""
    scores: dict[str, float] = Field(default_factory=dict)
    """The most probable labels with their probabilities."""
    values: dict[str, float] = Field(default_factory=dict)
    """Numbers predicted, in their units."""
    spans: list[PredictedSpan] | None = None
    """Pieces found in the text, where that is what is predicted."""
    vector: list[float] | None = None
    """The text as a point: its direction counts, its length is one."""
    written: str | None = None
    """The text that was written from it, where that is what is predicted."""
    finish_reason: Literal["stop", "length"] | None = None
    """Of a language model's answer: `stop`, it ended by itself; `length`, it was cut where no more tokens were
    allowed."""
    error: str | None = None
    """Why there is no answer; a language model answers the other rows of a file all the same."""
    similarity: float | None = None
    """Of a pair's two vectors: their cosine."""
    file: str
    line: int


class ExportResult(Result):
    """A written model folder."""

    folder: str
    files: list[str]
    size_bytes: int
    largest_difference: float
    """Between the run's probabilities and those of the written folder in plain transformers, on probe rows."""
    probe_rows: int
    loading: tuple[str, ...] = ()
    """Lines of Python that complete the plain model, where its weights do not hold all that was trained."""
