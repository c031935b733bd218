"""What every launcher promises, and the words it uses. Knows no place to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

JobStatus = Literal["running", "finished", "failed", "stopped"]
"""``stopped``: ended before its work was done, and can be submitted again to go on."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run to be started."""

    key: str
    """Two submissions with the same key are the same job."""
    config: Path
    """The resolved configuration (JSON or YAML)."""
    run: Path
    """The run's directory, as ``output_dir`` of the configuration says it."""


@dataclass(frozen=True, slots=True)
class JobHandle:
    """A submitted job; enough to find it again from another process."""

    key: str
    folder: Path
    """Where the launcher keeps its notes on the job."""
    run: Path


@dataclass(frozen=True, slots=True)
class Cursor:
    """How much of a log was read, in bytes."""

    position: int = 0


class Launcher(Protocol):
    """Where a run runs."""

    def submit(self, job: Job) -> JobHandle:
        """Start the job, or find it when it runs or has finished; one that was stopped or failed is started again."""

    def status(self, handle: JobHandle) -> JobStatus:
        """How the job stands now."""

    def logs(self, handle: JobHandle, cursor: Cursor) -> tuple[list[str], Cursor]:
        """The complete lines written since ``cursor``, and where to go on."""

    def stop(self, handle: JobHandle, grace_seconds: float) -> None:
        """Ask the job to end, and end it after ``grace_seconds``; returns when it is gone."""

    def fetch(self, handle: JobHandle, run: Path) -> None:
        """Bring the run's directory to ``run``."""
