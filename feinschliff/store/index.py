"""The index of runs: each run's state file, written at start and end, and the list of all below a folder.

Knows whether the process that wrote a state still lives; knows nothing of what a run did.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil

from feinschliff.errors import RunDirectoryError
from feinschliff.store.run_directory import RunDirectory, read_json, write_json

Status = Literal["running", "finished", "interrupted", "failed", "unreadable"]
STATUSES: tuple[Status, ...] = ("running", "finished", "interrupted", "failed", "unreadable")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as its state file tells it."""

    path: Path
    status: Status
    verb: str = ""
    started: str = ""
    """ISO time, UTC."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the verb added: seconds, metric, value, verdict, error ..."""

    @property
    def resumable(self) -> bool:
        """Whether the same command again goes on where it stopped."""
        return self.status == "interrupted"


def start_run(directory: RunDirectory, verb: str, facts: Mapping[str, Any] | None = None) -> None:
    """Note that this process now works on the run. A resumed run keeps the time of its first start."""
    before = _state(directory.state) if directory.state.is_file() else {}
    process = psutil.Process()
    state = {
        "status": "running",
        "verb": verb,
        "started": before.get("started") or datetime.now(UTC).isoformat(timespec="seconds"),
        **(facts or {}),
        "pid": process.pid,
        "process_started": process.create_time(),
        "host": socket.gethostname(),
    }
    write_json(directory.state, state)


def finish_run(directory: RunDirectory, status: Status, facts: Mapping[str, Any] | None = None) -> None:
    """Note how the run ended: ``finished``, ``interrupted`` or ``failed``.

    ``runs list`` shows these facts: seconds, metric, value, verdict, why (or error).
    """
    write_json(directory.state, {**_state(directory.state), **(facts or {}), "status": status})


def read_run(path: Path) -> RunRecord:
    """The record of one run.

    Raises:
        RunDirectoryError: there is no run.
    """
    state_file = RunDirectory(path).state
    if not state_file.is_file():
        raise RunDirectoryError(
            f"{path} is not a run",
            where=str(path),
            why=f"it has no {state_file.name}",
            remedy="see `feinschliff runs list`",
        )
    return _record(path, state_file)


def find_runs(folder: Path) -> list[RunRecord]:
    """All runs at or below ``folder``, the latest first. What lies inside a run (its trials) is part of it."""
    records = [_record(path, RunDirectory(path).state) for path in _run_paths(folder)]
    return sorted(records, key=lambda record: (record.started, str(record.path)), reverse=True)


def _run_paths(folder: Path) -> Iterator[Path]:
    for current, names, _files in os.walk(folder):
        path = Path(current)
        if RunDirectory(path).state.is_file():
            names.clear()
            yield path
        names[:] = sorted(name for name in names if not name.startswith("."))


def _record(path: Path, state_file: Path) -> RunRecord:
    state = _state(state_file)
    known = {"status", "verb", "started", "pid", "process_started", "host"}
    facts = {key: value for key, value in state.items() if key not in known}
    return RunRecord(path, _status(state), str(state.get("verb", "")), str(state.get("started", "")), facts)


def _state(state_file: Path) -> dict[str, Any]:
    try:
        state = read_json(state_file)
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        return {"status": "unreadable", "why": f"{state_file.name}: {error}"}
    return state if isinstance(state, dict) else {"status": "unreadable", "why": f"{state_file.name} is not a mapping"}


def _status(state: Mapping[str, Any]) -> Status:
    """A run that says ``running`` while its process is gone was interrupted (killed, power)."""
    status: Status = next((known for known in STATUSES if known == state.get("status")), "unreadable")
    if status == "running" and not _alive(state):
        return "interrupted"
    return status


def _alive(state: Mapping[str, Any]) -> bool:
    if state.get("host") not in (None, socket.gethostname()):
        return True  # another machine's process cannot be asked from here
    try:
        process = psutil.Process(int(state["pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        started = state.get("process_started")
        return started is None or abs(process.create_time() - float(started)) < 1.0
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False
