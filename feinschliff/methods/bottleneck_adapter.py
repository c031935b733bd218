"""Bottleneck adapters: a small trained network behind each part of a layer, and the head. Knows no task.

``x + up(activation(down(x)))`` stands behind the last linear map of the attention part and of the feed-forward part,
before residual and norm (Houlsby et al. 2019), or behind the feed-forward part alone, at half the weights (Pfeiffer et
al. 2021). ``up`` is zero at the start, so training begins at the base model. Norms stay as they are. A non-linearity
cannot be merged: adapters are saved beside the base's weights, with code that puts them into a transformers model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig
from feinschliff.methods import _added
from feinschliff.methods._method import Method

if TYPE_CHECKING:
    from torch import Tensor, nn

MARK = ".adapter."


class BottleneckAdapterConfig(TypedConfig):
    """Small networks behind the parts of each layer."""

    type: Literal["bottleneck_adapter"] = "bottleneck_adapter"
    """`bottleneck_adapter`."""
    bottleneck: int = Field(default=64, ge=1, le=4096)
    """Width between the two projections: 2 x bottleneck x hidden width weights an adapter."""
    after: Literal["both", "feed_forward"] = "both"
    """Behind attention and feed-forward part, or behind the feed-forward part alone."""
    activation: Literal["relu", "gelu", "silu"] = "relu"
    """Between the two projections."""


class BottleneckAdapter(Method):
    """Adapters and head move."""

    default_learning_rate = 3e-4
    """The middle one of those that Houlsby et al. tried (3e-5, 3e-4, 3e-3)."""
    mergeable = False
    loading = _added.ATTACHED

    def adapt(self, network: Any) -> nn.Module:
        """Freeze the base, put an adapter behind the parts asked for, train adapters and head."""
        from torch import nn

        from feinschliff.methods._bottleneck_layers import insert

        network.requires_grad_(False)
        network.head.requires_grad_(True)
        for name in self._layers(network.body):
            layer = network.body.model.get_submodule(name)
            adapter = insert(layer, self.config.bottleneck, self.config.activation)
            nn.init.zeros_(adapter.up.weight)
            nn.init.zeros_(adapter.up.bias)
        adapted: nn.Module = network
        return adapted

    def _layers(self, body: Any) -> list[str]:
        behind = [body.family.attention_output] if self.config.after == "both" else []
        return [name for path in (*behind, body.family.feed_forward_output) for name in body.in_layers(path)]

    @contextmanager
    def reference(self, network: Any) -> Iterator[nn.Module]:
        """The network with its adapters switched off."""
        model = network.body.model
        with _added.switched_off(model.get_submodule(name).adapter for name in self._layers(network.body)):
            yield network

    def merged_weights(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The base's own weights and the head."""
        return {name: value for name, value in weights.items() if MARK not in name}

    def save_added(self, network: Any, weights: dict[str, Tensor], folder: Path) -> None:
        """Write the adapters."""
        from feinschliff.methods import _bottleneck_layers

        config = {**self.config.model_dump(), "layers": self._layers(network.body)}
        adapters = {name.removeprefix(_added.BODY): value for name, value in weights.items() if MARK in name}
        _added.save(folder, adapters, config, _bottleneck_layers.__file__)

    def attach(self, network: Any, folder: Path) -> None:
        """Put saved adapters in."""
        from feinschliff.methods._bottleneck_layers import attach

        attach(network.body.model, folder)

    def complete(self, model: Any, folder: Path) -> Any:
        """Put saved adapters in; the code in the folder becomes the one that did it."""
        from feinschliff.methods import _bottleneck_layers

        _added.write_code(folder, _bottleneck_layers.__file__)
        return _bottleneck_layers.attach(model, folder)


NEEDS_TOKENS = True
CONFIG = BottleneckAdapterConfig
create = BottleneckAdapter
EXAMPLE = {"type": "bottleneck_adapter", "bottleneck": 4}
