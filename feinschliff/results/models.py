"""Models as `models list`, `show`, `pull` and `verify` tell them. Knows no file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.results.measures import Result


class ModelSummary(Result):
    """One line of the list: a model of the catalogue."""

    name: str
    description: str
    kind: str
    license: str
    license_is_open: bool
    """Whether it allows use, change and redistribution for any purpose."""
    num_parameters: int
    size_mb: float
    """Size of the weights, 10^6 bytes."""
    languages: list[str]
    max_length_tokens: int
    verified: bool
    """Whether this project checked these facts on the real files."""
    on_this_machine: bool
    """Nothing needs to be downloaded."""


class ModelList(Result):
    """The answer of `models list`."""

    models: list[ModelSummary] = Field(default_factory=list)


class ModelDetails(Result):
    """The answer of `models show`. None is what nothing on this machine says."""

    name: str
    description: str | None = None
    kind: str | None = None
    model_type: str | None = None
    """The architecture, as transformers calls it."""
    license: str | None
    license_is_open: bool
    num_parameters: int | None
    size_mb: float | None
    languages: list[str] = Field(default_factory=list)
    max_length_tokens: int | None
    pooling: str | None = None
    sources: list[str]
    """Where to get it."""
    weights_sha256: str | None
    verified: bool | None = None
    folder: str | None
    """Where it lies on this machine."""
    num_layers: int | None = None
    """Layers below the classifier, of a Keras file."""
    input_shape: list[int | None] | None = None
    """Of a row, of a Keras file; None inside: any size."""
    loadable: bool | None = None
    """Whether a Keras file can be loaded and tuned."""
    not_loadable_because: str | None = None


class PulledModel(Result):
    """The answer of `models pull` and `models verify`: a folder that passed every check."""

    name: str
    folder: str
    origin: Literal["folder", "file", "hub", "wheel", "factory"]
    revision: str | None
    """Commit of the Hub, or version of the wheel."""
    license: str | None
    num_parameters: int
    size_mb: float
    weights_sha256: str
    pinned: bool
    """Whether the catalogue pins the weights' hash (it was then compared)."""
    announcements: list[str] = Field(default_factory=list)
