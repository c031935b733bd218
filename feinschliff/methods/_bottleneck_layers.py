"""Bottleneck adapters in a transformers model. Needs torch and safetensors only: a copy lies beside saved adapters.

model = AutoModelForSequenceClassification.from_pretrained(folder)
attach(model, folder + "/adapter")
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class Bottleneck(nn.Module):
    """``x + up(activation(down(x)))`` (Houlsby et al. 2019)."""

    def __init__(self, width: int, bottleneck: int, activation: str) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.activation = ACTIVATIONS[activation]()
        self.up = nn.Linear(bottleneck, width)
        self.enabled = True

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] to [..., d]."""
        return x + self.up(self.activation(self.down(x))) if self.enabled else x


def insert(linear: Any, bottleneck: int, activation: str) -> Bottleneck:
    """Put an adapter behind a linear layer, as its part ``adapter``; the layer keeps the names of its weights."""
    adapter = Bottleneck(linear.out_features, bottleneck, activation).to(linear.weight.device, linear.weight.dtype)
    linear.add_module("adapter", adapter)
    linear.register_forward_hook(lambda layer, _, out: layer.adapter(out))
    return adapter


def _layer(model: Any, name: str) -> Any:
    """By its name in the model, or in the base model under a task's head."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        return model.base_model.get_submodule(name)


def attach(model: Any, folder: str | Path) -> Any:
    """Put the adapters saved in ``folder`` into their transformers model, which is returned."""
    config = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
    weights = load_file(Path(folder) / "adapter.safetensors")
    for name in config["layers"]:
        layer = _layer(model, name)
        adapter = insert(layer, config["bottleneck"], config["activation"])
        prefix = f"{name}.adapter."
        adapter.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    return model.eval()
