"""Folders of the cache that are made once: built aside, renamed into place whole; two processes may want the same.

Knows nothing of what is in them.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock

from feinschliff.errors import ResourceError

STAGING = ".staging-"


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """``target``, which ``make`` fills where it is not there yet; ``make`` gets an empty folder to fill.

    Raises:
        ResourceError: the disk is full or cannot be written.
    """
    if target.exists():  # renamed into place as a whole, so what is there is complete: no lock needed to read
        return target
    with ExitStack() as stack:
        stack.enter_context(disk_errors(target.parent))
        target.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(FileLock(str(target.parent / ".lock")))
        if target.exists():  # another process was faster
            return target
        remove_leftovers(target.parent)
        staging = stack.enter_context(tempfile.TemporaryDirectory(prefix=STAGING, dir=target.parent))
        made = Path(staging) / target.name
        made.mkdir()
        make(made)
        os.rename(made, target)
    return target


def remove_leftovers(folder: Path) -> None:
    """Staging folders of processes that were killed; whoever asks holds the lock, so nobody works in them."""
    for leftover in folder.glob(f"{STAGING}*"):
        shutil.rmtree(leftover)


def disk_full(folder: Path) -> ResourceError:
    """The error for a cache whose disk is full."""
    return ResourceError(
        f"no space left on the disk of the cache {folder}",
        why="what is to be kept there does not fit; nothing half written was kept",
        remedy="free some space, or set FEINSCHLIFF_CACHE to a folder on another disk, and start the command again",
    )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full or read-only disk becomes an error that says so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(folder) from error
        raise ResourceError(
            f"the cache {folder} cannot be used",
            why=error.strerror or str(error),
            remedy="set FEINSCHLIFF_CACHE to a folder that can be written",
        ) from error
