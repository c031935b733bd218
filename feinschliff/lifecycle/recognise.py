"""Which task the rows are for, and which rows a task needs: what was not asked is found. Knows no task by name."""

from __future__ import annotations

from collections.abc import Callable, Collection

from feinschliff import registry
from feinschliff.config import rules
from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.models.encoder_decoder import EXAMPLES, is_encoder_decoder
from feinschliff.models.sources import cached_folder
from feinschliff.results.data import ColumnsFound, Kind

ROWS_OF: dict[Kind, str] = {
    "single_label": "labels",
    "multi_label": "labels",
    "values": "values",
    "spans": "spans",
    "answers": "answers",
    "pairs": "pairs",
    "texts": "texts",
}
"""Kind of target that was found -> the name by which tasks say which rows they read (``ROWS``)."""


def asks_for_task(given: Collection[str]) -> bool:
    """Whether the person named a task, or an option of one."""
    return any(name == "task" or name.startswith("task.") for name in given)


def with_rows(config: RunConfig, given: Collection[str]) -> RunConfig:
    """The configuration with the kind of rows that the task reads, where a task was asked for.

    A model that was named, lies here and has a decoder writes texts: no other task has a use for it.
    """
    if config.data.rows != "auto":
        return config
    if asks_for_task(given):
        rows = registry.load("task", config.task.type).ROWS
    elif "model.source" in given and _writes_texts(config.model.source):
        rows = "texts"
    else:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"rows": rows})})


def with_task(
    config: RunConfig, given: Collection[str], columns: ColumnsFound, say: Callable[[str], None]
) -> RunConfig:
    """The configuration with the task that rows of this kind are for, where none was asked for.

    Raises:
        ConfigError: an option was given that the task does not offer; it reads images and no image model was named, or
            it reads texts and the rows are images.
    """
    config = _recognised(config, given, "images" if columns.image else ROWS_OF[columns.kind], say)
    reads_images = registry.says("task", config.task.type, "READS_IMAGES")
    if reads_images and "model.source" not in given:
        raise ConfigError(
            "the rows are images, and no image model was named",
            where="model.source",
            why=f"the model taken where none is named, {config.model.source}, reads texts",
            remedy="name one: --model efficientnet-lite0 (imports Python code from a package), "
            "--model hf:google/vit-base-patch16-224, or a folder",
        )
    if registry.says("task", config.task.type, "WRITES_TEXTS") and "model.source" not in given:
        raise ConfigError(
            "the rows are sources with a text to be written from each, and no model that writes was named",
            where="model.source",
            why=f"the model taken where none is named, {config.model.source}, is an encoder: it has no decoder",
            remedy=f"name an encoder-decoder: --model {EXAMPLES}, or a folder",
        )
    if bool(columns.image) != reads_images:
        rows = "images" if columns.image else "texts"
        raise ConfigError(f"task {config.task.type} cannot read rows that are {rows}", where="task.type")
    return config


def _writes_texts(source: str) -> bool:
    folder = cached_folder(source)
    return folder is not None and is_encoder_decoder(folder)


def _recognised(config: RunConfig, given: Collection[str], rows: str, say: Callable[[str], None]) -> RunConfig:
    if asks_for_task(given):
        return config
    for name in registry.names("task"):
        module = registry.load("task", name)
        if registry.says("task", name, "BY_DEFAULT") and rows == module.ROWS:
            say(f"task {name}: what the rows are for (another: --task NAME)")
            found = config.model_copy(update={"task": module.CONFIG()})
            if faults := rules.check(found):
                raise ConfigError(faults)
            return found
    return config
