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

    similarity_loss: Literal["pearson", "cosent"] = "pearson"
    """Of pairs with a number. `pearson`: one less the correlation of cosines and numbers over a batch; `cosent`: their
    order alone counts (Su 2022), for numbers whose distances mean nothing."""


def create(config: EmbeddingsConfig, context: TaskContext) -> Embeddings:
    """The task itself."""
    from feinschliff.tasks._embeddings import Embeddings

    return Embeddings(config, context)


CONFIG = EmbeddingsConfig
ROWS = "pairs"
BY_DEFAULT = True
EMBEDS_TEXTS = True
"""Each text of a row gets a vector of its own, and may be asked for alone."""
RATE_FACTOR = 0.2
"""There is no head to be learned from nothing, and what encoders of sentences know is lost at the rates that are right
elsewhere: of 800 functions and their docstrings MiniLM found less at 5e-5 than at 2e-5 (validation nDCG@10 0.888 and
0.924 after three epochs), and less at 1e-4 than at 3e-5 with the last layers alone (0.854 and 0.911)."""
EXAMPLE = {"type": "embeddings"}
