"""Data sets of the Hugging Face Hub: ``hf:owner/name[@revision][:split]``. Knows no meaning of a column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from feinschliff import settings
from feinschliff.config.data import DataConfig
from feinschliff.data.examples import Place
from feinschliff.data.tables import Cell, Row, Table
from feinschliff.errors import DataError, ResourceError

_SPEC = re.compile(r"hf:(?P<name>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[^:@]+))?(:(?P<split>.+))?")


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
    return Table(spec, columns, lambda: _rows(dataset, spec), said)


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
    names = {column: names for column, feature in dataset.features.items() if (names := _class_names(feature))}
    for number, record in enumerate(dataset, 1):
        cells = {column: _named(cell, names.get(column)) for column, cell in record.items()}
        yield Row(cells, Place(spec, number))


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
