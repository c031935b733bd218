"""Names to modules: tasks, methods, launchers and trackers, ours (by file) and third parties' (by entry point).

A module joins by being there: ``feinschliff/<kind>s/<name>.py`` with ``CONFIG = ...``, or an entry point in the group
``feinschliff.<kind>s``. This is the one place that reaches up to a higher floor, by name. It knows no member.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Literal

from feinschliff.errors import ConfigError

Kind = Literal["task", "method", "launcher", "tracker"]
_FOLDERS: dict[Kind, str] = {"task": "tasks", "method": "methods", "launcher": "launchers", "tracker": "trackers"}


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """All known names of a kind, sorted. Files starting with ``_`` are not members; nothing is imported."""
    folder = importlib.util.find_spec(f"feinschliff.{_FOLDERS[kind]}")
    locations = folder.submodule_search_locations if folder else None
    ours = {module.name for module in pkgutil.iter_modules(locations or []) if not module.name.startswith("_")}
    theirs = {point.name for point in entry_points(group=f"feinschliff.{_FOLDERS[kind]}")}
    return tuple(sorted(ours | theirs))


def load(kind: Kind, name: str) -> ModuleType:
    """The module behind a name.

    Raises:
        ConfigError: the name is unknown; the nearest known one is named.
    """
    if name not in names(kind):
        near = difflib.get_close_matches(name, names(kind), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"unknown {kind} {name!r}", where=f"{kind}.type", remedy=f"{hint}known: {', '.join(names(kind))}"
        )
    for point in entry_points(group=f"feinschliff.{_FOLDERS[kind]}", name=name):
        module: ModuleType = point.load()
        return module
    return importlib.import_module(f"feinschliff.{_FOLDERS[kind]}.{name}")


def says(kind: Kind, name: str, fact: str) -> bool:
    """Whether a module states ``fact`` of itself as a constant that is true; one that does not mention it, does not."""
    return bool(getattr(load(kind, name), fact, False))


def first(kind: Kind, *facts: str) -> str:
    """The first of a kind, by name, that states all these facts of itself.

    Raises:
        ConfigError: there is none.
    """
    found = next((name for name in names(kind) if all(says(kind, name, one) for one in facts)), None)
    if found is None:
        raise ConfigError(f"there is no {kind} that says {', '.join(facts)}", where=f"{kind}.type")
    return found


def fact(kind: Kind, name: str, fact: str, otherwise: Any = None) -> Any:
    """What a module states of itself as a constant, or ``otherwise``."""
    return getattr(load(kind, name), fact, otherwise)


def number(kind: Kind, name: str, fact: str, otherwise: float) -> float:
    """A number that a module states of itself as a constant, or ``otherwise``."""
    return float(getattr(load(kind, name), fact, otherwise))
