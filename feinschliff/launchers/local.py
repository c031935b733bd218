"""This machine: the run is a child process that goes on when its parent ends.

Notes lie beside the run in ``NAME.job`` (the run's own directory belongs to the run). Knows processes, not training.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock

from feinschliff import settings
from feinschliff.config.bases import TypedConfig
from feinschliff.errors import InputError, RunDirectoryError
from feinschliff.launchers._protocol import Cursor, Job, JobHandle, JobStatus
from feinschliff.store.index import read_run
from feinschliff.store.run_directory import read_json, write_json

_NOTES = "job.json"
_LOG = "log.txt"


class LocalConfig(TypedConfig):
    """This machine, in a process of its own."""

    type: Literal["local"] = "local"
    """This machine."""


class LocalLauncher:
    """Starts ``feinschliff train`` as a process of this machine."""

    def __init__(self, config: LocalConfig) -> None:
        self.config = config

    def submit(self, job: Job) -> JobHandle:
        """Start the job, or find it; see :class:`feinschliff.launchers._protocol.Launcher`.

        Raises:
            InputError: another job with the same run directory exists under another key.
        """
        handle = _handle(job)
        handle.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(handle.folder / ".lock")):
            notes = _notes(handle)
            if notes and notes["key"] != job.key:
                raise InputError(
                    f"{job.run} belongs to job {notes['key']!r}",
                    where="job_key",
                    remedy="submit with that key, or choose another output_dir",
                )
            if not notes or self.status(handle) in ("failed", "stopped"):
                self._start(job, handle)
        return handle

    def _start(self, job: Job, handle: JobHandle) -> None:
        with open(handle.folder / _LOG, "ab") as log:
            process = subprocess.Popen(
                command(job),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=settings.child_environment(),
            )
        try:
            started = psutil.Process(process.pid).create_time()
        except psutil.NoSuchProcess:
            started = 0.0
        write_json(handle.folder / _NOTES, {"key": job.key, "pid": process.pid, "process_started": started})

    def status(self, handle: JobHandle) -> JobStatus:
        """How the job stands now: its process first, then what the run says of itself."""
        if _process(handle):
            return "running"
        try:
            said = read_run(handle.run).status
        except RunDirectoryError:
            return "failed"  # it ended before there was a run: wrong input; the log says which
        match said:
            case "finished":
                return "finished"
            case "interrupted" | "running":
                return "stopped"
            case _:
                return "failed"

    def logs(self, handle: JobHandle, cursor: Cursor) -> tuple[list[str], Cursor]:
        """The complete lines written since ``cursor``."""
        log = handle.folder / _LOG
        if not log.is_file():
            return [], cursor
        with open(log, "rb") as file:
            file.seek(cursor.position)
            new = file.read()
        complete = new[: new.rfind(b"\n") + 1]
        return complete.decode("utf-8", "replace").splitlines(), Cursor(cursor.position + len(complete))

    def stop(self, handle: JobHandle, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL to the process and its children."""
        process = _process(handle)
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=grace_seconds)
        for left in alive:
            left.kill()
        psutil.wait_procs(alive, timeout=10)

    def fetch(self, handle: JobHandle, run: Path) -> None:
        """Copy the run, unless it is there already."""
        if run.resolve() != handle.run.resolve():
            shutil.copytree(handle.run, run, dirs_exist_ok=True)


def command(job: Job) -> list[str]:
    """What is started."""
    return [sys.executable, "-m", "feinschliff", "train", "--config", str(job.config)]


def _handle(job: Job) -> JobHandle:
    return JobHandle(job.key, job.run.with_name(f"{job.run.name}.job"), job.run)


def _notes(handle: JobHandle) -> dict[str, Any]:
    path = handle.folder / _NOTES
    notes: dict[str, Any] = read_json(path) if path.is_file() else {}
    return notes


def _process(handle: JobHandle) -> psutil.Process | None:
    """The job's process while it lives; a pid that was given to another process since is not it."""
    notes = _notes(handle)
    if not notes:
        return None
    try:
        process = psutil.Process(int(notes["pid"]))
        ended = process.status() == psutil.STATUS_ZOMBIE
        same = abs(process.create_time() - float(notes["process_started"])) < 1.0
    except psutil.NoSuchProcess:
        return None
    return process if same and not ended else None


CONFIG = LocalConfig
create = LocalLauncher
