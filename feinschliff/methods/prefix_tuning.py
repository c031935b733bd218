"""Prefix tuning: trained keys and values that every row's tokens attend to in each layer, and the head. Knows no task.

Attention sees ``[prefix; row]`` as keys and values, queries are the row's alone (Li and Liang 2021). Positions of the
row do not shift, so no text gets shorter. A prefix cannot be merged: it is saved beside the base's weights, with code
that puts it into a plain transformers model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig
from feinschliff.config.training import TrainingConfig
from feinschliff.methods import _added
from feinschliff.methods._method import Method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from feinschliff.engine.contracts import ParameterGroup

MARK = ".prefix."
SPREAD = 0.02
"""Standard deviation of keys and values at the start: near zero, so that a row's own tokens lead."""


class PrefixTuningConfig(TypedConfig):
    """Trained keys and values before every row."""

    type: Literal["prefix_tuning"] = "prefix_tuning"
    """`prefix_tuning`."""
    num_prefix_tokens: int = Field(default=16, ge=1, le=1024)
    """Keys and values a layer."""
    computed_from: int = Field(default=0, ge=0, le=8192)
    """Hidden width of a network that computes them in training and is dropped after it; 0: they are trained as such."""
    learning_rate_multiplier: float = Field(default=30.0, gt=0.0, le=10000.0)
    """The prefix's rate is this many times `training.learning_rate`; the head's follows from that one alone."""


class PrefixTuning(Method):
    """Prefixes and head move."""

    default_learning_rate = 3e-4
    """Times the multiplier, about what Liu et al. 2022 (P-tuning v2) use for classification, 5e-3 to 1e-2."""
    mergeable = False
    loading = _added.ATTACHED

    def adapt(self, network: Any) -> nn.Module:
        """Freeze the base, give each layer a prefix, train prefixes and head."""
        from feinschliff.methods._prefix_layers import insert

        network.requires_grad_(False)
        network.head.requires_grad_(True)
        for name in self._layers(network.body):
            insert(network.body.model.get_submodule(name), self._prefix(network.body.model.config))
        adapted: nn.Module = network
        return adapted

    def _prefix(self, config: Any) -> nn.Module:
        import torch

        from feinschliff.methods._prefix_layers import Prefix
        from feinschliff.methods._prefix_mlp import ComputedPrefix

        tokens, heads = self.config.num_prefix_tokens, config.num_attention_heads
        width = config.hidden_size // heads
        if self.config.computed_from:
            return ComputedPrefix(tokens, heads, width, self.config.computed_from)
        return Prefix(SPREAD * torch.randn(2, heads, tokens, width))

    def _layers(self, body: Any) -> list[str]:
        names: list[str] = body.in_layers(body.family.attention)
        return names

    def parameter_groups(self, network: Any, training: TrainingConfig) -> list[ParameterGroup]:
        """The prefix at its multiple of the rate, the head as ever."""
        groups = super().parameter_groups(network, training)
        return _added.faster(groups, MARK, self.config.learning_rate_multiplier)

    @contextmanager
    def reference(self, network: Any) -> Iterator[nn.Module]:
        """The network with its prefixes switched off."""
        model = network.body.model
        with _added.switched_off(model.get_submodule(name).prefix for name in self._layers(network.body)):
            yield network

    def merged_weights(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The base's own weights and the head."""
        return {name: value for name, value in weights.items() if MARK not in name}

    def save_added(self, network: Any, weights: dict[str, Tensor], folder: Path) -> None:
        """Write keys and values of all layers."""
        import torch

        from feinschliff.methods import _prefix_layers

        layers, states = self._layers(network.body), {}
        for name in layers:
            own = f"{_added.BODY}{name}{MARK}"
            values = {key.removeprefix(own): value for key, value in weights.items() if key.startswith(own)}
            prefix = network.body.model.get_submodule(name).prefix
            with torch.no_grad():
                states[f"{name}{MARK}states"] = torch.func.functional_call(prefix, values, ())
        _added.save(folder, states, {**self.config.model_dump(), "layers": layers}, _prefix_layers.__file__)

    def attach(self, network: Any, folder: Path) -> None:
        """Put saved prefixes in; our attention takes them as it is."""
        from feinschliff.methods._prefix_layers import load

        load(network.body.model, folder)

    def complete(self, model: Any, folder: Path) -> Any:
        """Put saved prefixes in; the code in the folder becomes the one that did it."""
        from feinschliff.methods import _prefix_layers

        _added.write_code(folder, _prefix_layers.__file__)
        return _prefix_layers.attach(model, folder)


NEEDS_TOKENS = True
NEEDS_ENCODER_ALONE = True
CONFIG = PrefixTuningConfig
create = PrefixTuning
EXAMPLE = {"type": "prefix_tuning", "num_prefix_tokens": 3}
