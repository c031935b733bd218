"""Which task the rows are for, and which rows a task needs: what was not asked is found. Knows no task by name."""

from __future__ import annotations

from collections.abc import Callable, Collection

from feinschliff import registry
from feinschliff.config import rules
from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.results.data import Kind

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
    """The configuration with the kind of rows that the task reads, where a task was asked for."""
    if not asks_for_task(given) or config.data.rows != "auto":
        return config
    rows = registry.load("task", config.task.type).ROWS
    return config.model_copy(update={"data": config.data.model_copy(update={"rows": rows})})


def with_task(config: RunConfig, given: Collection[str], kind: Kind, say: Callable[[str], None]) -> RunConfig:
    """The configuration with the task that rows of this kind are for, where none was asked for.

    Raises:
        ConfigError: an option was given that this task does not offer.
    """
    if asks_for_task(given):
        return config
    for name in registry.names("task"):
        module = registry.load("task", name)
        if registry.says("task", name, "BY_DEFAULT") and ROWS_OF[kind] == module.ROWS:
            say(f"task {name}: what the rows are for (another: --task NAME)")
            found = config.model_copy(update={"task": module.CONFIG()})
            if faults := rules.check(found):
                raise ConfigError(faults)
            return found
    return config
