"""Trained keys and values before those of every row. Needs torch, safetensors and transformers only: a copy lies beside
saved prefixes.

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    attach(model, folder + "/adapter")
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "sdpa_behind_prefix"


class Prefix(nn.Module):
    """Keys and values [2, H, P, D] of one layer, which every row's tokens attend to (Li and Liang 2021)."""

    def __init__(self, states_2HPD: Tensor) -> None:
        super().__init__()
        self.states = nn.Parameter(states_2HPD)
        self.enabled = True

    def forward(self) -> Tensor:
        """[2, H, P, D]."""
        return self.states


def insert(attention: Any, prefix: nn.Module) -> None:
    """Make ``prefix`` a part of an attention layer, which hands it to the attention function it calls."""
    attention.add_module("prefix", prefix)
    attention.register_forward_pre_hook(_given, with_kwargs=True)


def _given(attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {**kwargs, "prefix_2HPD": attention.prefix()} if attention.prefix.enabled else kwargs


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
) -> Any:
    """transformers' attention with the prefix, where the layer has one, in front of keys, values and mask."""
    prefix = given.pop("prefix_2HPD", None)
    if prefix is not None:
        before = prefix.to(key.dtype)[:, None].expand(-1, len(key), -1, -1, -1)
        key, value = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        if attention_mask is not None:
            seen = float(attention_mask.dtype == torch.bool)
            attention_mask = F.pad(attention_mask, (prefix.shape[2], 0), value=seen)
    return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, **given)


def load(model: Any, folder: str | Path) -> Any:
    """Put the prefixes saved in ``folder`` into a transformers model whose attention function takes them."""
    config = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
    weights = load_file(Path(folder) / "adapter.safetensors")
    for name in config["layers"]:
        insert(model.base_model.get_submodule(name), Prefix(weights[f"{name}.prefix.states"]).to(model.device))
    return model.eval()


def attach(model: Any, folder: str | Path) -> Any:
    """Put the prefixes saved in ``folder`` into their transformers model, which is returned."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.config._attn_implementation = NAME
    return load(model, folder)
