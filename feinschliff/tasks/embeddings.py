"""Embeddings: what may be asked of them. The work, in ``_embeddings``, is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig

if TYPE_CHECKING:
    from feinschliff.tasks._embeddings import Embeddings
    from feinschliff.tasks._task import TaskContext


class EmbeddingsConfig(TypedConfig):
    """A vector for each text, near those of texts that belong to it: for search and similarity."""

    type: Literal["embeddings"] = "embeddings"
    """`embeddings`."""
    temperature: float = Field(default=0.05, gt=0.0, le=1.0)
    """Cosines are divided by this in the loss; lower: the nearest wrong texts count more."""


def create(config: EmbeddingsConfig, context: TaskContext) -> Embeddings:
    """The task itself."""
    from feinschliff.tasks._embeddings import Embeddings

    return Embeddings(config, context)


CONFIG = EmbeddingsConfig
ROWS = "pairs"
BY_DEFAULT = True
EMBEDS_TEXTS = True
"""Each text of a row gets a vector of its own, and may be asked for alone."""
EXAMPLE = {"type": "embeddings"}
