"""Train the head and chosen parts: the last k layers, and where asked the first ones or parts by name. Knows no task.

What is frozen below the lowest trained part is computed once and kept (``engine.prefix_cache``): with n layers of which
the last k are trained, an epoch saves up to a factor (n + 2k) / 3k against the same layers frozen and recomputed, and
almost everything for the head alone. A part that is trained further down costs that: nothing above it is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig
from feinschliff.errors import ConfigError
from feinschliff.methods._method import Method, is_head
from feinschliff.methods._names import Expression, found

if TYPE_CHECKING:
    from torch import nn


class FrozenLayersConfig(TypedConfig):
    """Train the head, the last layers, and whatever else is asked for; all else is frozen."""

    type: Literal["frozen_layers"] = "frozen_layers"
    """`frozen_layers`."""
    trained_layers: int = Field(default=2, ge=0)
    """How many of the last layers are trained beside the head; 0: none of them."""
    trained_first_layers: int = Field(default=0, ge=0)
    """How many of the first layers are trained too."""
    trained_embeddings: bool = False
    """Whether the embeddings are trained too: tokens, positions, segments and their norm."""
    trained_norms: bool = False
    """Whether the norms of all layers and of the embeddings are trained too."""
    trained_parameters: tuple[Expression, ...] = ()
    """Regular expressions: parameters with one of them in their name are trained too (`attention.*bias`)."""


class FrozenLayers(Method):
    """The head and the parts asked for move."""

    default_learning_rate = 2e-4

    def adapt(self, network: Any) -> nn.Module:
        """Freeze all but what is asked for.

        Raises:
            ConfigError: an expression is found in no name, or the model has no norms.
        """
        lowest_of_last = network.body.num_layers - self.config.trained_layers + 1
        named = self._named(network)
        for name, parameter in network.named_parameters():
            depth = network.depth_of(name)
            parameter.requires_grad_(
                name in named
                or is_head(network, name)
                or depth >= max(1, lowest_of_last)
                or 1 <= depth <= self.config.trained_first_layers
                or (depth == 0 and self.config.trained_embeddings)
            )
        adapted: nn.Module = network
        return adapted

    def _named(self, network: Any) -> set[str]:
        names = [name for name, _ in network.named_parameters()]
        chosen = {
            name
            for wanted in self.config.trained_parameters
            for name in found(wanted, names, "method.trained_parameters")
        }
        if self.config.trained_norms:
            chosen |= _norms(network)
        return chosen


def _norms(network: Any) -> set[str]:
    """Parameters of modules whose class is called a norm: LayerNorm, RMSNorm and models' own.

    Raises:
        ConfigError: there is none.
    """
    modules = [(name, module) for name, module in network.named_modules() if type(module).__name__.endswith("Norm")]
    names = {f"{name}.{parameter}" for name, module in modules for parameter, _ in module.named_parameters()}
    if not names:
        raise ConfigError(
            "this model has no norms with weights",
            where="method.trained_norms",
            remedy="leave it out, or name the parameters: --method.trained-parameters",
        )
    return names


CONFIG = FrozenLayersConfig
TRAINS_BASE_WEIGHTS = True
create = FrozenLayers
EXAMPLE = {"type": "frozen_layers", "trained_layers": 1}
