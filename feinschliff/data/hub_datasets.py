"""Data sets of the Hugging Face Hub: ``hf:owner/name[@revision][:split]``. Knows no meaning of a column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from feinschliff import settings
from feinschliff.config.data import DataConfig
from feinschliff.data.examples import Place
from feinschliff.data.tables import Cell, Row, Table
from feinschliff.errors import DataError, ResourceError

_SPEC = re.compile(r"hf:(?P<name>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[^:@]+))?(:(?P<split>.+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_commits: dict[str, str] = {}
"""Specification to the commit that was read when it was last opened here."""


def open_hub_dataset(spec: str, config: DataConfig) -> Table:
    """Open one split (``train`` where none is named) through ``datasets``, which keeps it on disk, memory-mapped.

    Raises:
        DataError: the specification is malformed, or the set, revision or split does not exist.
        ResourceError: the Hub cannot be reached.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise DataError(f"{spec!r} is not a data set", remedy="write hf:owner/name, hf:owner/name@revision:split")
    split = match["split"] or "train"
    dataset = _load(spec, match["name"], match["revision"], split)
    columns = list(dataset.column_names)
    said = [f"{spec}: split {split!r}, {len(dataset):,} rows, columns {', '.join(columns)}"]
    commit = _commit(dataset)
    _commits.pop(spec, None)
    if commit is not None:
        _commits[spec] = commit
        said[0] += f", commit {commit[:12]}"
    return Table(spec, columns, lambda: _rows(dataset, spec), said)


def commit_read(spec: str, config: DataConfig) -> str | None:
    """The commit that a specification, opened before or now, was read at; None where ``datasets`` does not say.

    The one of the last opening, because what a report names must be what was read, not what the branch holds by now.

    Raises:
        DataError, ResourceError: it was not opened before and cannot be: see :func:`open_hub_dataset`.
    """
    if spec not in _commits:
        open_hub_dataset(spec, config)
    return _commits.get(spec)


def _commit(dataset: Any) -> str | None:
    """``datasets`` keeps the rows in a folder that is named after the commit; sets held in memory have none."""
    folders = {Path(file["filename"]).parent.name for file in dataset.cache_files}
    found = [name for name in folders if _COMMIT.fullmatch(name)]
    return found[0] if len(found) == 1 else None


def _load(spec: str, name: str, revision: str | None, split: str) -> Any:
    import datasets
    import huggingface_hub
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    if settings.read().offline:  # both libraries read HF_HUB_OFFLINE at import; FEINSCHLIFF_OFFLINE must reach them too
        datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    remedy = "check the network or HF_ENDPOINT, or give a file; what was loaded once is kept and needs no network"
    try:
        return datasets.load_dataset(name, revision=revision, split=split)
    except DatasetNotFoundError as error:
        raise DataError(f"there is no data set {name!r}" + (f" at {revision!r}" if revision else ""), where=spec,
                        why=_first_line(error), remedy="check the name; log in if private") from error  # fmt: skip
    except (ConnectionError, TimeoutError) as error:
        raise ResourceError("the Hugging Face Hub cannot be reached", where=spec, why=_first_line(error),
                            remedy=remedy) from error  # fmt: skip
    except (ValueError, KeyError, RuntimeError, OSError, DatasetsError) as error:
        raise DataError("the data set cannot be read", where=spec, why=_first_line(error),
                        remedy="name an existing split: hf:owner/name:split") from error  # fmt: skip


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _rows(dataset: Any, spec: str) -> Iterator[Row]:
    dataset = _images_as_bytes(dataset)
    names = {column: names for column, feature in dataset.features.items() if (names := _class_names(feature))}
    for number, record in enumerate(dataset, 1):
        cells = {column: _named(cell, names.get(column)) for column, cell in record.items()}
        yield Row(cells, Place(spec, number))


def _images_as_bytes(dataset: Any) -> Any:
    """Images as they are stored, undecoded: what is wrong with one is then told of that one."""
    import datasets

    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def _class_names(feature: Any) -> list[str] | None:
    """The names behind class numbers, for one label or a list of them."""
    import datasets

    inner = feature.feature if isinstance(feature, datasets.Sequence | datasets.List) else feature
    return list(inner.names) if isinstance(inner, datasets.ClassLabel) else None


def _named(cell: Cell, names: list[str] | None) -> Cell:
    if names is None:
        return cell
    if isinstance(cell, list):
        return [_named(item, names) for item in cell]
    return names[cell] if isinstance(cell, int) and 0 <= cell < len(names) else None
