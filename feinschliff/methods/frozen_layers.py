"""Train the head alone, or the head and the last k layers; everything below is frozen. Knows no task.

What is frozen is computed once and kept (``engine.prefix_cache``): with n layers of which k are trained, an epoch saves
up to a factor (n + 2k) / 3k against the same layers frozen and recomputed, and almost everything for the head alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig
from feinschliff.methods._method import Method

if TYPE_CHECKING:
    from torch import nn


class FrozenLayersConfig(TypedConfig):
    """Train the head and the last layers."""

    type: Literal["frozen_layers"] = "frozen_layers"
    """`frozen_layers`."""
    trained_layers: int = Field(default=2, ge=0)
    """How many of the last layers are trained beside the head; 0: the head alone."""


class FrozenLayers(Method):
    """Head and last ``trained_layers`` move."""

    default_learning_rate = 2e-4

    def adapt(self, network: Any) -> nn.Module:
        """Freeze all below the last ``trained_layers``."""
        trained = min(self.config.trained_layers, network.body.num_layers)
        lowest = network.body.num_layers - trained + 1
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(network.depth_of(name) >= lowest)
        adapted: nn.Module = network
        return adapted


CONFIG = FrozenLayersConfig
TRAINS_BASE_WEIGHTS = True
create = FrozenLayers
EXAMPLE = {"type": "frozen_layers", "trained_layers": 1}
