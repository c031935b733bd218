"""Which task the rows are for, and which rows a task needs: what was not asked is found. Knows no task by name."""

from __future__ import annotations

from collections.abc import Callable, Collection

from feinschliff import registry
from feinschliff.config import rules
from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.models import keras_files
from feinschliff.results.data import ColumnsFound, Kind

ROWS_OF: dict[Kind, str] = {
    "single_label": "labels",
    "multi_label": "labels",
    "values": "values",
    "spans": "spans",
    "answers": "answers",
    "pairs": "pairs",
}
"""Kind of target that was found -> the name by which tasks say which rows they read (``ROWS``)."""


def asks_for_task(given: Collection[str]) -> bool:
    """Whether the person named a task, or an option of one."""
    return any(name == "task" or name.startswith("task.") for name in given)


def with_rows(config: RunConfig, given: Collection[str]) -> RunConfig:
    """The configuration with the kind of rows that the task reads, where a task was asked for.

    A Keras file that reads numbers says it too.
    """
    if config.data.rows != "auto":
        return config
    if not asks_for_task(given):
        return _with(config, "numbers") if keras_files.reads_numbers(config.model.source) else config
    rows = registry.load("task", config.task.type).ROWS
    return _with(config, rows)


def _with(config: RunConfig, rows: str) -> RunConfig:
    return config.model_copy(update={"data": config.data.model_copy(update={"rows": rows})})


def with_task(
    config: RunConfig, given: Collection[str], columns: ColumnsFound, say: Callable[[str], None]
) -> RunConfig:
    """The configuration with the task that rows of this kind are for, where none was asked for.

    Raises:
        ConfigError: an option was given that the task does not offer; it reads images or numbers and no model of those
            was named, or it reads something else than the rows are.
    """
    found = "images" if columns.image else "numbers" if columns.numbers else ROWS_OF[columns.kind]
    config = _recognised(config, given, found, say)
    reads_images = registry.says("task", config.task.type, "READS_IMAGES")
    if reads_images and "model.source" not in given:
        raise ConfigError(
            "the rows are images, and no image model was named",
            where="model.source",
            why=f"the model taken where none is named, {config.model.source}, reads texts",
            remedy="name one: --model efficientnet-lite0 (imports Python code from a package), "
            "--model hf:google/vit-base-patch16-224, or a folder",
        )
    reads_numbers = registry.says("task", config.task.type, "READS_NUMBERS")
    if reads_numbers and "model.source" not in given:
        raise ConfigError(
            "the rows are numbers, and no model that reads numbers was named",
            where="model.source",
            why=f"the model taken where none is named, {config.model.source}, reads texts",
            remedy="name a Keras file with a vector as its input: --model path/model.keras",
        )
    if (bool(columns.image), bool(columns.numbers)) != (reads_images, reads_numbers):
        rows = {"images": "images", "numbers": "numbers"}.get(found, "texts")
        raise ConfigError(f"task {config.task.type} cannot read rows that are {rows}", where="task.type")
    return config


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
