"""Feinschliff: a pretrained model and your data in, a specialised model with proof out, or the advice not to use it.

``feinschliff.tune("tickets.csv", target="label")``. Knows nothing itself: names are loaded when used, so that
``import feinschliff`` stays fast and free of torch. A test holds the list.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feinschliff.api import configure, evaluate, export, predict, train, tune
    from feinschliff.config.run import RunConfig
    from feinschliff.errors import FeinschliffError

__version__ = "0.1.0"

__all__ = [
    "FeinschliffError",
    "RunConfig",
    "configure",
    "evaluate",
    "export",
    "predict",
    "train",
    "tune",
]

_HOMES = {"FeinschliffError": "feinschliff.errors", "RunConfig": "feinschliff.config.run"}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in __all__:
        raise AttributeError(f"module 'feinschliff' has no attribute {name!r}")
    module = importlib.import_module(_HOMES.get(name, "feinschliff.api"))
    return vars(module)[name]


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
