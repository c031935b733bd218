"""The verb `models`: what can be had, what one is, fetching it, checking it. Lists and shows without torch.

An exception are Keras files: whether one can be loaded is only known when it was.
"""

from __future__ import annotations

from pathlib import Path

from feinschliff.errors import Fault, InputError, ModelError, ResourceError
from feinschliff.models import catalogue, factories, hub, keras_files
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
    if source not in catalogue.entries() and keras_files.is_keras_source(source):
        return _from_keras_file(source)
    folder = cached_folder(source)
    if source in catalogue.entries():
        return _from_entry(catalogue.entries()[source], folder)
    if folder is None:
        raise _not_here(source)
    if foreign := keras_files.foreign_faults(folder):
        raise ModelError(foreign)
    return _of_keras(source, folder) if keras_files.is_keras(folder) else _from_folder(source, folder)


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
        if keras_files.is_keras_source(source):
            raise ModelError(keras_files.file_faults(keras_files.path_of(source)))
        raise _not_here(source)
    found = resolve_model(source, offline=True)
    result = _pulled(source, found)
    if keras_files.is_keras(found.folder):
        return result.model_copy(update={"announcements": [*result.announcements, *_keras_parts(found.folder)[1]]})
    return result


def _from_keras_file(source: str) -> ModelDetails:
    """A Keras file, readable or not."""
    file = keras_files.path_of(source)
    if not file.exists():
        raise ModelError(keras_files.file_faults(file))
    try:
        return _of_keras(source, keras_files.fetch(source))
    except ModelError as error:
        return _unloadable(source, file, error)


def _unloadable(source: str, file: Path, error: ModelError) -> ModelDetails:
    return ModelDetails(
        name=source,
        model_type="keras",
        license=None,
        license_is_open=False,
        num_parameters=None,
        size_mb=round(file.stat().st_size / 1e6, 1),
        max_length_tokens=None,
        sources=[source],
        weights_sha256=None,
        folder=str(file.parent),
        loadable=False,
        not_loadable_because="; ".join(_said(fault) for fault in error.faults),
    )


def _said(fault: Fault) -> str:
    return ". ".join(part for part in (fault.what, fault.why, fault.remedy) if part)


def _of_keras(source: str, folder: Path) -> ModelDetails:
    """A folder that holds a Keras file. Keras loads it."""
    (num_layers, shape), _ = _keras_parts(folder)
    license_name = read_license(folder)
    return ModelDetails(
        name=source,
        model_type="keras",
        license=license_name,
        license_is_open=is_open(license_name),
        num_parameters=num_parameters(folder),
        size_mb=round(size_mb(folder), 1),
        max_length_tokens=None,
        sources=[source],
        weights_sha256=weights_sha256(folder),
        folder=str(folder),
        num_layers=num_layers,
        input_shape=list(shape),
        loadable=True,
    )


def _keras_parts(folder: Path) -> tuple[tuple[int, tuple[int | None, ...]], list[str]]:
    """Layers and input shape, and what is assumed of a Keras model."""
    from feinschliff.models.keras_images import image_form, load_keras

    model = load_keras(folder)
    shape = model.graph.input_shape
    said = model.graph.said + (image_form(model)[1] if len(shape) > 1 else [])
    seen = f"{model.body.num_layers} layers below the classifier, rows of {' x '.join(str(n or 'any') for n in shape)}"
    return (model.body.num_layers, shape), [*said, seen]


def _not_here(source: str) -> InputError:
    if source in catalogue.entries() or source.startswith((hub.PREFIX, wheels.PREFIX, factories.PREFIX)):
        return ResourceError(f"{source} is not on this machine", remedy=f"fetch it: feinschliff models pull {source}")
    if Path(source).expanduser().is_file():
        what = f"{source} is a file that was not converted into a model folder yet"
        return ResourceError(what, remedy=f"convert it: feinschliff models pull {source}")
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
