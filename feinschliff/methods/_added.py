"""How what cannot be merged is saved: weights, their configuration, the code that puts them in. Knows no method."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from feinschliff.engine.contracts import ParameterGroup

BODY = "body.model."
"""Before the names of the base model's modules in a network of ours."""
ATTACHED = (
    "import sys",
    "",
    'sys.path.insert(0, f"{folder}/adapter")',
    "from attach import attach",
    "",
    'model = attach(model, f"{folder}/adapter")',
)
"""How a plain transformers model is completed by the code that :func:`save` writes."""


def save(folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any], code: str | None) -> None:
    """Write ``adapter.safetensors``, ``adapter_config.json`` and ``attach.py``, a copy of the module file ``code``."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "adapter.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    write_code(folder, code)


def write_code(folder: Path, code: str | None) -> None:
    """Copy the module file ``code``. A copy in a folder is for others; we run our own, whoever wrote the folder."""
    shutil.copyfile(str(code), folder / "attach.py")


def faster(groups: Iterable[ParameterGroup], mark: str, multiplier: float) -> list[ParameterGroup]:
    """Groups in which parameters with ``mark`` in their name learn at ``multiplier`` times the rate."""
    found = []
    for group in groups:
        own = tuple(name for name in group.names if mark in name)
        rest = tuple(name for name in group.names if mark not in name)
        parts = ((own, multiplier * group.learning_rate_factor), (rest, group.learning_rate_factor))
        found += [replace(group, names=names, learning_rate_factor=rate) for names, rate in parts if names]
    return found


@contextmanager
def switched_off(parts: Iterable[Any]) -> Iterator[None]:
    """``enabled`` is False inside."""
    parts = list(parts)
    try:
        for part in parts:
            part.enabled = False
        yield
    finally:
        for part in parts:
            part.enabled = True
