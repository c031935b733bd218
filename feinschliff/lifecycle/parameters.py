"""How many parameters a network has and how many of them are trained. Knows no method."""

from __future__ import annotations

from typing import Any

from feinschliff.config.run import RunConfig
from feinschliff.engine.precision import MasterWeights
from feinschliff.models.live_embedding import LiveEmbedding
from feinschliff.models.quantised import quantised_layers


def share(config: RunConfig, network: Any, masters: MasterWeights) -> str:
    """What is trained, of how much, in words."""
    trained, total = masters.num_parameters, count_parameters(network)
    return f"method {config.method.type} trains {trained:,} of {total:,} parameters ({trained / total:.2%})"


def count_parameters(network: Any) -> int:
    """All parameters of a network, however few bits hold them; embedding rows that are trained stand in the whole table
    too and count once."""
    total = sum(parameter.numel() for parameter in network.parameters())
    total += sum(layer.num_weights for layer in quantised_layers(network))
    for module in network.modules():
        if isinstance(module, LiveEmbedding):
            total -= module.weight.numel()
    return int(total)
