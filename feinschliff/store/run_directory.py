"""A run's directory: fixed file names, atomic writes, one process at a time. Knows no content."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from feinschliff.errors import ResourceError, RunDirectoryError


class RunDirectory:
    """Fixed names inside ``path``; nothing else in the project spells them out."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.asked = self.path / "asked.json"
        self.config = self.path / "config.json"
        self.origins = self.path / "origins.json"
        self.splits = self.path / "held_out.jsonl"
        self.data_report = self.path / "data.json"
        self.dropped = self.path / "dropped.csv"
        self.events = self.path / "events.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.trials = self.path / "trials"
        self.model = self.path / "model"
        self.adapter = self.path / "adapter"
        self.training = self.path / "training.json"
        self.evaluation = self.path / "evaluation.json"
        self.evaluations = self.path / "evaluations"
        self.result = self.path / "result.json"
        self.report = self.path / "report.html"
        self.report_markdown = self.path / "report.md"
        self.state = self.path / "run.json"
        self.lock = self.path / ".lock"

    def create(self) -> None:
        """Make the directory and prove that it can be written.

        Raises:
            RunDirectoryError: it is a file, not writable, or holds files that no run of ours wrote.
        """
        remedy = "choose another --output-dir"
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(f"{self.path} is a file, not a directory", where="output_dir", remedy=remedy)
        if self.path.is_dir() and not self.state.exists():
            ours = (self.lock.name, f".{self.state.name}.")  # all that a process killed at its start can leave
            foreign = [name for name in os.listdir(self.path) if not name.startswith(ours)]
            if foreign:
                raise RunDirectoryError(
                    f"{self.path} is not empty and is not a run",
                    where="output_dir",
                    why=f"it holds {', '.join(sorted(foreign)[:3])}{' ...' if len(foreign) > 3 else ''}",
                    remedy=remedy,
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise disk_full(self.path) from error
            raise RunDirectoryError(
                f"{self.path} cannot be written", where="output_dir", why=error.strerror or str(error), remedy=remedy
            ) from error

    def holds_work(self) -> bool:
        """Whether anything here took work to make: a model, a result, a checkpoint, a trial."""
        done = any(path.exists() for path in (self.model, self.training, self.evaluation, self.result))
        kept = (*self.checkpoints.rglob("*.safetensors"), *self.trials.rglob("*.safetensors"))
        divided = any(self.checkpoints.glob("step-*/state.json"))
        return done or bool(kept) or divided or any(self.trials.glob("*/*.json"))

    def clear(self) -> None:
        """Remove what a start that came to no work left of another configuration."""
        for folder in (self.checkpoints, self.trials):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.origins, self.splits, self.data_report, self.dropped):
            file.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the lock falls with the process, however it ends.

        Raises:
            RunDirectoryError: another process holds it.
        """
        lock = FileLock(str(self.lock))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunDirectoryError(
                f"{self.path} is in use by another process",
                where="output_dir",
                remedy="wait for it to end, or choose another --output-dir",
            ) from None
        try:
            yield
        finally:
            lock.release()


def disk_full(path: Path) -> ResourceError:
    """The error for a full disk; what was complete before is untouched."""
    return ResourceError(
        f"no space left on the disk of {path}",
        why="a file could not be written completely; the last complete checkpoint is intact",
        remedy="free some space and start the same command again: it resumes",
    )


def write_bytes(path: Path, content: bytes) -> None:
    """Write all or nothing: a temporary file beside it, flushed to disk, then renamed over ``path``.

    Raises:
        ResourceError: the disk is full; ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise disk_full(path) from error
        raise RunDirectoryError(f"{path} cannot be written", why=error.strerror or str(error)) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically (see :func:`write_bytes`)."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON written by :func:`write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))
