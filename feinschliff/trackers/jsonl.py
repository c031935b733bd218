"""Writes every event as one JSON object a line, flushed at once. Knows no terminal and no server.

A line: ``{"event": "step_ended", "time": 1767225600.25, "step": 1, ...}``; the other keys are the event's fields.
A figure that JSON has no number for is written as a string: ``"nan"``, ``"inf"``.
"""

from __future__ import annotations

import errno
import json
import math
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from feinschliff.config.bases import TypedConfig
from feinschliff.engine.events import Event, Progressed
from feinschliff.store.run_directory import RunDirectory, disk_full


class JsonlConfig(TypedConfig):
    """Events as JSON lines in the run's directory."""

    type: Literal["jsonl"] = "jsonl"


class JsonlTracker:
    """Appends to ``path``. A half line that a killed process left at its end is taken off first."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _take_off_half_line(path)
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def observe(self, event: Event) -> None:
        """Write one line. Rows counted for the eye are not kept.

        Raises:
            ResourceError: the disk is full.
        """
        if isinstance(event, Progressed):
            return
        record = {"event": _snake_case(type(event).__name__), "time": round(time.time(), 3)}
        record |= {name: _jsonable(value) for name, value in asdict(event).items()}
        try:
            self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise disk_full(self._path) from error
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def create(config: JsonlConfig, run: RunDirectory) -> JsonlTracker:
    """The tracker of a run."""
    return JsonlTracker(run.events)


def _jsonable(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _take_off_half_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


CONFIG = JsonlConfig
