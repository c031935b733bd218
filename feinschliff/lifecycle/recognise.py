"""Which task the rows are for, and which rows a task needs: what was not asked is found. Knows no task by name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from feinschliff import registry
from feinschliff.config import rules
from feinschliff.config.run import RunConfig
from feinschliff.data.chats_or_documents import chats_or_documents
from feinschliff.errors import ConfigError
from feinschliff.models import keras_files
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
    "conversations": "conversations",
    "documents": "documents",
}
"""Kind of target that was found -> the name by which tasks say which rows they read (``ROWS``)."""
OWN_MODELS = (
    (
        "READS_IMAGES",
        "images",
        "reads images",
        "name one: --model efficientnet-lite0 (imports Python code from a package), "
        "--model hf:google/vit-base-patch16-224, or a folder",
    ),
    (
        "READS_NUMBERS",
        "numbers",
        "reads numbers",
        "name a Keras file with a vector as its input: --model path/model.keras",
    ),
    (
        "WRITES_TEXTS",
        "sources with a text to be written from each",
        "writes",
        f"name an encoder-decoder: --model {EXAMPLES}, or a folder",
    ),
)
"""Tasks that have no use for the model taken where none is named: by which fact, what their rows are, what a model of
theirs does, what to do."""


def asks_for_task(given: Collection[str]) -> bool:
    """Whether the person named a task, or an option of one."""
    return any(name == "task" or name.startswith("task.") for name in given)


def with_rows(config: RunConfig, given: Collection[str]) -> RunConfig:
    """The configuration with the kind of rows that the task reads, where a task was asked for.

    Of a task that reads conversations and documents the files say which.
    A model that was named, lies here and has a decoder writes texts: no other task has a use for it. A Keras file that
    reads numbers says it too.

    Raises:
        DataError: see ``chats_or_documents``.
    """
    if config.data.rows != "auto":
        return config
    if asks_for_task(given):
        return _with(config, _rows_of(config))
    if keras_files.reads_numbers(config.model.source):
        return _with(config, "numbers")
    return _with(config, "texts") if "model.source" in given and _writes_texts(config.model.source) else config


def _rows_of(config: RunConfig) -> str:
    task = config.task.type
    rows: str = registry.load("task", task).ROWS
    either = rows == "conversations" and "documents" in registry.fact("task", task, "ALSO_READS", ())
    return chats_or_documents(config.data) if either and config.data.train else rows


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
    config = _with_own_defaults(_recognised(config, given, found, say), given, say)
    task = config.task.type
    for fact, rows, model, remedy in OWN_MODELS:
        if (
            registry.fact("task", task, "DEFAULT_MODEL") is None
            and registry.says("task", task, fact)
            and "model.source" not in given
        ):
            raise ConfigError(
                f"the rows are {rows}, and no model that {model} was named",
                where="model.source",
                why=f"the model taken where none is named, {config.model.source}, is an encoder of texts",
                remedy=remedy,
            )
    reads = (registry.says("task", task, "READS_IMAGES"), registry.says("task", task, "READS_NUMBERS"))
    if (bool(columns.image), bool(columns.numbers)) != reads:
        rows = found if found in ("images", "numbers") else "texts"
        raise ConfigError(f"task {task} cannot read rows that are {rows}", where="task.type")
    return config


def _with_own_defaults(config: RunConfig, given: Collection[str], say: Callable[[str], None]) -> RunConfig:
    """The configuration with the model and the settings of the loop that its task takes where none were given."""
    task = config.task.type
    model, asked = registry.fact("task", task, "DEFAULT_MODEL"), registry.fact("task", task, "TRAINING", {})
    changes: dict[str, Any] = {}
    if model is not None and "model.source" not in given:
        say(f"model {model}: the starter of task {task} (another: --model NAME)")
        changes["model"] = config.model.model_copy(update={"source": model})
    settings = {name: value for name, value in asked.items() if f"training.{name}" not in given}
    if settings:
        said = ", ".join(f"{name} {value:g}" for name, value in settings.items())
        say(f"defaults of task {task}: {said}")
        changes["training"] = config.training.model_copy(update=settings)
    return config.model_copy(update=changes)


def _writes_texts(source: str) -> bool:
    folder = cached_folder(source)
    return folder is not None and is_encoder_decoder(folder)


def _recognised(config: RunConfig, given: Collection[str], rows: str, say: Callable[[str], None]) -> RunConfig:
    if asks_for_task(given):
        return config
    for name in registry.names("task"):
        module = registry.load("task", name)
        reads = (module.ROWS, *registry.fact("task", name, "ALSO_READS", ()))
        if registry.says("task", name, "BY_DEFAULT") and rows in reads:
            say(f"task {name}: what the rows are for (another: --task NAME)")
            found = config.model_copy(update={"task": module.CONFIG()})
            if faults := rules.check(found):
                raise ConfigError(faults)
            return found
    return config
