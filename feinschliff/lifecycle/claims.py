"""Whose a run's directory is: held by one process, kept from other configurations, known again at the next start.

What is trained follows from everything in a configuration but how the result is judged: those fields bind nothing until
there is a result. Knows no verb and no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.load import write_resolved
from feinschliff.config.run import RunConfig
from feinschliff.errors import RunDirectoryError
from feinschliff.results.comparison import Origin
from feinschliff.store.run_directory import RunDirectory, read_json, write_json

JUDGING = tuple(f"evaluation.{name}" for name in EvaluationConfig.model_fields if name != "metric")
"""Of no weight on what is trained; the metric is, because validation chooses by it."""


@contextmanager
def locked_for(directory: RunDirectory, config: RunConfig, done: Path) -> Iterator[None]:
    """Hold the directory, having seen that it is not another run's: that one's state stays as it is.

    Args:
        done: the file with which the verb ends; from then on fields of judging bind as all others do.

    Raises:
        RunDirectoryError: it is in use, or holds the work of another configuration; every differing field is named.
    """
    with directory.locked():
        different = _different_from_asked(directory, config)
        binding = {name: said for name, said in different.items() if done.exists() or name not in JUDGING}
        if binding and directory.holds_work():
            anew = f"judge it anew: `feinschliff evaluate {directory.path}` takes --checks and a judge; or "
            raise RunDirectoryError(
                f"{directory.path} holds a run with another configuration",
                where="output_dir",
                why="; ".join(list(binding.values())[:6]) + (" ..." if len(binding) > 6 else ""),
                remedy=(anew if binding.keys() <= {*JUDGING} else "")
                + "choose another --output-dir, or give the same options to resume",
            )
        yield


def claim(directory: RunDirectory, config: RunConfig, origins: list[Origin]) -> list[str]:
    """Write the configuration, unless the directory already belongs to the same one.

    A start that ended before any work (a wrong column, a missing model) does not bind the directory: what it left is
    replaced. What is trained stays where only the judging is to be another one.

    Returns:
        How it is to be judged otherwise than it was begun, one line a field.
    """
    different = _different_from_asked(directory, config)
    if directory.config.exists():
        if not different:
            return []
        if not different.keys() <= {*JUDGING}:
            directory.clear()
            different = {}
    write_json(directory.asked, config.model_dump(mode="json"))
    write_resolved(directory, config, origins)
    return list(different.values())


def that_binds(config: RunConfig) -> dict[str, Any]:
    """A configuration as JSON, without what has no weight on the training."""
    said = config.model_dump(mode="json")
    return {**said, "evaluation": {"metric": said["evaluation"]["metric"]}}


def _different_from_asked(directory: RunDirectory, config: RunConfig) -> dict[str, str]:
    """Fields in which ``config`` differs from what the directory was begun with; nothing where it is new."""
    if not directory.config.exists():
        return {}
    said = read_json(directory.asked if directory.asked.exists() else directory.config)
    with suppress(ValueError):  # fields that are newer than the run have their defaults there
        said = RunConfig.model_validate(said).model_dump(mode="json")
    return dict(_differences(said, config.model_dump(mode="json")))


def _differences(before: Any, now: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield name, f"{name}: {before} there, {now} here"
