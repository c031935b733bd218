"""Full fine-tuning: every parameter is trained. Knows no task.

The token table is an exception by arithmetic, not by choice: rows that no training text contains get no gradient, so
the engine leaves them out of optimizer and memory (``models.live_embedding``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from feinschliff.config.bases import TypedConfig
from feinschliff.methods._method import Method

if TYPE_CHECKING:
    from torch import nn


class FullConfig(TypedConfig):
    """Train all weights."""

    type: Literal["full"] = "full"
    """`full`."""


class Full(Method):
    """All parameters move."""

    default_learning_rate = 1e-4

    def adapt(self, network: nn.Module) -> nn.Module:
        """Everything is trained."""
        return network.requires_grad_(True)


CONFIG = FullConfig
TRAINS_BASE_WEIGHTS = True
TRAINS_EMBEDDINGS = True
create = Full
EXAMPLE = {"type": "full"}
