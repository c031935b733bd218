"""A figure with its interval, and a difference with its p-value: the atoms of every result. Knows no metric."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Result(BaseModel):
    """Base of everything that verbs return and reports read: plain data, to and from JSON, no torch."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Measure(Result):
    """A metric's value and its confidence interval."""

    value: float
    low: float
    high: float


class Difference(Result):
    """Ours minus the baseline's, on the same rows (paired), with interval and two-sided p-value.

    Positive is better: turned round for metrics of which less is better.
    """

    value: float
    low: float
    high: float
    p: float
