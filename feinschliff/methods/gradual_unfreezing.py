"""Gradual unfreezing: the head first, then layer by layer from the top, epoch by epoch (Howard and Ruder 2018).

In epoch e (from 0) the head and the last ``floor(layers_per_epoch * e)`` layers move; after the last layer come the
embeddings. A head that knows nothing yet sends no gradients into layers that do. Frozen layers need no backward pass,
so the first epochs are faster. Their outputs are not kept (``engine.prefix_cache``): all are trained in the end. Knows
no task.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig
from feinschliff.methods._method import Method, is_head

if TYPE_CHECKING:
    from torch import nn


class GradualUnfreezingConfig(TypedConfig):
    """Train the head first and more layers, from the top, in each epoch."""

    type: Literal["gradual_unfreezing"] = "gradual_unfreezing"
    """`gradual_unfreezing`."""
    layers_per_epoch: float = Field(default=2.0, gt=0.0)
    """Layers that join in each epoch after the first; 0.5: one in every second. What a run is too short to reach stays
    as it is: 6 layers and the embeddings need 5 epochs at 2 an epoch."""


class GradualUnfreezing(Method):
    """Everything is set up to move; each epoch says what does.

    The default rate is that of full fine-tuning, which this ends in.
    """

    default_learning_rate = 1e-4

    def adapt(self, network: nn.Module) -> nn.Module:
        """Everything is trained at some time: masters, moments and checkpoints are for all of it."""
        return network.requires_grad_(True)

    def start_epoch(self, network: Any, epoch: int) -> None:
        """Let the head and the layers of this epoch move.

        AdamW steps over what has no gradient: a layer's moments and step count begin when it joins.
        """
        num_layers = math.floor(self.config.layers_per_epoch * epoch)
        if not any(is_head(network, name) for name, _ in network.named_parameters()):
            num_layers = max(1, num_layers)  # nothing else could move in the first epoch
        lowest = network.body.num_layers + 1 - num_layers
        never = _never_trained(network)
        for name, parameter in network.named_parameters():
            if id(parameter) not in never:
                parameter.requires_grad_(network.depth_of(name) >= lowest)
        network.train(network.training)  # what is frozen drops nothing out: the network looks at this again

    def describe(self, network: Any) -> str:
        """By what steps."""
        return f"the head first, {self.config.layers_per_epoch:g} more layers from the top in each epoch after"


def _never_trained(network: nn.Module) -> set[int]:
    """The rows of the token table that no training text contains."""
    from feinschliff.models.live_embedding import LiveEmbedding

    return {id(module.table_Vd) for module in network.modules() if isinstance(module, LiveEmbedding)}


CONFIG = GradualUnfreezingConfig
TRAINS_BASE_WEIGHTS = True
create = GradualUnfreezing
EXAMPLE = {"type": "gradual_unfreezing", "layers_per_epoch": 2.0}
"""Three epochs train all of a model of three layers."""
