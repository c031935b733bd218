"""What a method trained beside the base's weights: saved in the run's model folder, found again, named on the card.

Knows no method by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from feinschliff import registry
from feinschliff.config.bases import TypedConfig
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.predictor import ADDED, Predictor


def save(prepared: Prepared, trained: dict[str, Tensor], model_folder: Path) -> dict[str, Any] | None:
    """Write the part that cannot be merged; the method's configuration, for the model's facts. None: all was merged."""
    if prepared.method.mergeable:
        return None
    folder = model_folder / ADDED
    folder.mkdir()
    prepared.method.save_added(prepared.network, trained, folder)
    said: dict[str, Any] = prepared.config.method.model_dump(mode="json")
    return said


def completing(predictor: Predictor, folder: Path) -> Callable[[Any], Any]:
    """A function that makes the plain transformers model of ``folder`` the trained one, as its card says."""
    if predictor.facts.method is None:
        return lambda model: model
    return lambda model: predictor.method.complete(model, folder / ADDED)


def loading(config: TypedConfig) -> tuple[str, ...]:
    """Lines of Python that do so, for the card; none where plain weights hold all."""
    lines: tuple[str, ...] = registry.load("method", config.type).create(config).loading
    return lines
