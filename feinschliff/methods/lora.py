"""LoRA: a trained low-rank update beside each chosen linear layer, and the head (Hu et al. 2021). Knows no task.

``W x`` becomes ``W x + alpha / rank * B A x`` with A random and B zero at the start, so training begins at the base
model. The layers are PEFT's, put in place so that the network keeps its shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig
from feinschliff.errors import ConfigError
from feinschliff.methods._method import Method

if TYPE_CHECKING:
    from torch import Tensor, nn

ADAPTER = "default"


class LoraConfig(TypedConfig):
    """Low-rank adapters on linear layers."""

    type: Literal["lora"] = "lora"
    """`lora`."""
    rank: int = Field(default=16, ge=1, le=1024)
    """Rank of the update."""
    alpha: float = Field(default=32.0, gt=0.0)
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the update's input."""
    target_modules: tuple[str, ...] = ()
    """Names (or ends of names) of linear layers; empty: every linear layer of the body."""


class Lora(Method):
    """Adapters and head move."""

    default_learning_rate = 1e-3

    def adapt(self, network: Any) -> nn.Module:
        """Freeze the base, put adapters beside the targets, train the head.

        Raises:
            ConfigError: no linear layer has one of the names.
        """
        import peft
        from torch import nn

        linear = [name for name, module in network.body.named_modules() if isinstance(module, nn.Linear)]
        wanted = self.config.target_modules
        chosen = [name for name in linear if not wanted or any(name.endswith(end) for end in wanted)]
        if not chosen:
            ends = sorted({name.rpartition(".")[2] for name in linear})
            raise ConfigError(
                f"no linear layer is named {' or '.join(map(repr, wanted))}",
                where="method.target_modules",
                remedy=f"names that exist end in: {', '.join(ends)}",
            )
        config = peft.LoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            target_modules=chosen,
        )
        network.requires_grad_(False)
        peft.inject_adapter_in_model(config, network.body, adapter_name=ADAPTER)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_("lora_" in name or name.startswith("head."))
        adapted: nn.Module = network
        return adapted

    @contextmanager
    def reference(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network with its adapters switched off."""
        layers = list(_adapted_layers(network).values())
        for layer in layers:
            layer.enable_adapters(False)
        try:
            yield network
        finally:
            for layer in layers:
                layer.enable_adapters(True)

    def merged_weights(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The updates added to the base weights they stand beside, in fp32, under the base's names.

        Base weights are given in ``weights`` too (under ``<layer>.base_layer.weight``), because the network may hold
        them in a lower precision.
        """
        merged = {name: value for name, value in weights.items() if "lora_" not in name}
        for name, layer in _adapted_layers(network).items():
            down = weights[f"{name}.lora_A.{ADAPTER}.weight"].float()
            up = weights[f"{name}.lora_B.{ADAPTER}.weight"].float()
            base = merged.pop(f"{name}.base_layer.weight")
            merged[f"{name}.weight"] = base.float() + layer.scaling[ADAPTER] * (up @ down)
            if f"{name}.base_layer.bias" in merged:
                merged[f"{name}.bias"] = merged.pop(f"{name}.base_layer.bias")
        return merged


def _adapted_layers(network: nn.Module) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in network.named_modules() if isinstance(module, LoraLayer)}


CONFIG = LoraConfig
create = Lora
EXAMPLE = {"type": "lora", "rank": 4}
