"""Runs as `runs list` and `runs show` tell them. Knows no file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.results.comparison import Origin
from feinschliff.results.measures import Result


class RunSummary(Result):
    """One line of the list."""

    path: str
    status: Literal["running", "finished", "interrupted", "failed", "unreadable"]
    """`interrupted`: the same command again resumes."""
    verb: str = ""
    started: str = ""
    """ISO time, UTC."""
    seconds: float | None = None
    metric: str | None = None
    value: float | None = None
    verdict: str | None = None
    why: str | None = None
    """Why it failed, or cannot be read."""


class RunList(Result):
    """The answer of `runs list`."""

    folder: str
    runs: list[RunSummary] = Field(default_factory=list)


class RunDetails(Result):
    """The answer of `runs show`."""

    summary: RunSummary
    origins: list[Origin] = Field(default_factory=list)
    """The resolved configuration: every value and where it came from."""
    files: dict[str, str] = Field(default_factory=dict)
    """What lies in the run's directory: name -> path."""
