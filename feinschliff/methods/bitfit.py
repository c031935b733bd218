"""BitFit: the biases and the head are trained, every matrix stays as it is (Ben Zaken et al. 2022). Knows no task.

Of ``W x + b`` only ``b`` moves; norms' biases count too. That is about a thousandth of an encoder's weights, so what is
kept of a run is small, and little can be forgotten. It saves memory for moments, not the time of the backward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from feinschliff.config.bases import TypedConfig
from feinschliff.errors import ConfigError
from feinschliff.methods._method import Method, and_head, is_head
from feinschliff.methods._names import Expression, found, kinds

if TYPE_CHECKING:
    from torch import nn


class BitfitConfig(TypedConfig):
    """Train the biases and the head."""

    type: Literal["bitfit"] = "bitfit"
    """`bitfit`."""
    biases: tuple[Expression, ...] = ()
    """Regular expressions over the names of the biases that move; empty: all. `query.bias,intermediate.dense.bias` is
    the paper's half."""


class Bitfit(Method):
    """Biases and head move.

    The paper searches rates from 1e-4 to 1e-3. The default is lower than its best because the head learns at a multiple
    of it (``training.head_learning_rate_multiplier``): MiniLM on 400 rows of SST-2 reached a validation loss of 0.49 at
    1e-4 and at 3e-4, and on 500 rows 0.46 at 3e-4, 0.60 at 1e-3 and 1.0 at 3e-3. For 1e-3 lower the multiplier.
    """

    default_learning_rate = 3e-4

    def adapt(self, network: Any) -> nn.Module:
        """Freeze all but the chosen biases of the body and the head.

        Raises:
            ConfigError: the body has no biases, or an expression is found in the name of none.
        """
        body = [(name, p) for name, p in network.named_parameters() if not is_head(network, name)]
        biases = [name for name, p in body if name.endswith("bias") and p.ndim == 1]
        if not biases:
            raise ConfigError(
                "this model has no biases to train",
                where="method.type",
                why=f"its parameters are: {', '.join(kinds(name for name, _ in body))}",
                remedy="choose another method, such as lora",
            )
        asked = self.config.biases
        chosen = {name for wanted in asked for name in found(wanted, biases, "method.biases")} if asked else set(biases)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in chosen or is_head(network, name))
        adapted: nn.Module = network
        return adapted

    def describe(self, network: Any) -> str:
        """How many biases."""
        trained = [name for name, p in network.named_parameters() if p.requires_grad and not is_head(network, name)]
        return f"{len(trained)} biases{and_head(network)}"


CONFIG = BitfitConfig
TRAINS_BASE_WEIGHTS = True
create = Bitfit
EXAMPLE = {"type": "bitfit"}
