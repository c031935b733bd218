"""What ``predict`` and ``export`` give back. Knows no model."""

from __future__ import annotations

from feinschliff.results.measures import Result


class PredictionResult(Result):
    """The answer for one text or pair."""

    text: str
    labels: list[str]
    """The label given; several, or none, where rows carry several labels."""
    score: float
    """Probability of the (most probable) label given."""
    scores: dict[str, float]
    """The most probable labels with their probabilities."""
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
