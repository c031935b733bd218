"""Who watches a run started from the command line: progress on standard error, and every event as a line in the run.

Knows which trackers, not what they do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feinschliff import registry
from feinschliff.store.run_directory import RunDirectory

_TRACKERS = ("console", "jsonl")


class Watchers:
    """The trackers of one run, made at its first event: only then the run's directory is there and is ours."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._trackers: list[Any] | None = None

    def observe(self, event: Any) -> None:
        """Pass one event on."""
        if self._trackers is None:
            modules = [registry.load("tracker", name) for name in _TRACKERS]
            self._trackers = [module.create(module.CONFIG(), self._run) for module in modules]
        for tracker in self._trackers:
            tracker.observe(event)

    def close(self) -> None:
        """Close what was made."""
        for tracker in self._trackers or ():
            tracker.close()


@contextmanager
def on_console() -> Iterator[Sequence[Any]]:
    """The observers of work that is no run: what it says goes to standard error and nowhere else."""
    module = registry.load("tracker", "console")
    tracker = module.ConsoleTracker()
    try:
        yield [tracker]
    finally:
        tracker.close()


@contextmanager
def watching(output_dir: str) -> Iterator[Sequence[Watchers]]:
    """The observers of a run, closed at its end however it ends."""
    watchers = Watchers(RunDirectory(Path(output_dir)))
    try:
        yield [watchers]
    finally:
        watchers.close()
