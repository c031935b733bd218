"""Encoder, pooling and head written as transformers' own sequence classifier. Knows no data and no loop.

Mean pooling becomes one more post-norm block: query and key zero (uniform attention over the real tokens), value and
output the identity times the weight of the mean, feed-forward zero, norms plain. The head's tanh layer is the identity,
scaled so that tanh is as linear as it was in training. No custom code is needed to load the folder.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from feinschliff.models.heads import MEAN_WEIGHT, SQUASH, Pooling

_DENSE = {
    "attention.self.query": 0.0,
    "attention.self.key": 0.0,
    "attention.self.value": 1.0,
    "attention.output.dense": MEAN_WEIGHT,
}


def to_native(
    encoder_model: Any,
    body_state: dict[str, Tensor],
    head_weight_Cd: Tensor,
    head_bias_C: Tensor,
    pooling: Pooling,
    label_names: list[str],
    multi_label: bool,
) -> Any:
    """A ``PreTrainedModel`` for sequence classification with the same scores.

    ``body_state`` are the fp32 weights of the base encoder by its own parameter names.
    """
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(encoder_model.config)
    config._attn_implementation = "sdpa"
    config.num_labels = len(label_names)
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}
    config.problem_type = "multi_label_classification" if multi_label else "single_label_classification"
    if pooling == "mean":
        config.num_hidden_layers += 1
    with torch.random.fork_rng():
        model = AutoModelForSequenceClassification.from_config(config)
    prefix = model.base_model_prefix
    weights = {f"{prefix}.{name}": value for name, value in body_state.items()}
    if pooling == "mean":
        weights |= _pooling_block(config, f"{prefix}.encoder.layer.{config.num_hidden_layers - 1}.")
    weights |= _head(config, prefix, head_weight_Cd, head_bias_C)
    model.load_state_dict(weights)
    return model.eval()


def read_head(folder: Path) -> tuple[Tensor, Tensor]:
    """Weight [C, d] and bias [C] of the linear head of a folder written by :func:`to_native`."""
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        out = "classifier" if "classifier.weight" in names else "classifier.out_proj"
        return file.get_tensor(f"{out}.weight") * SQUASH, file.get_tensor(f"{out}.bias")


def classifier_state(encoder_config: Any, head_weight_Cd: Tensor, head_bias_C: Tensor) -> dict[str, Tensor]:
    """The weights of the module ``classifier`` of :func:`to_native`, by its names there."""
    state = _head(encoder_config, "", head_weight_Cd, head_bias_C)
    return {name: value for name, value in state.items() if name.startswith("classifier.")}


def _pooling_block(config: Any, name: str) -> dict[str, Tensor]:
    width = config.hidden_size
    block: dict[str, Tensor] = {}
    for part, scale in _DENSE.items():
        block[f"{name}{part}.weight"] = torch.eye(width) * scale
        block[f"{name}{part}.bias"] = torch.zeros(width)
    block[f"{name}intermediate.dense.weight"] = torch.zeros(config.intermediate_size, width)
    block[f"{name}intermediate.dense.bias"] = torch.zeros(config.intermediate_size)
    block[f"{name}output.dense.weight"] = torch.zeros(width, config.intermediate_size)
    block[f"{name}output.dense.bias"] = torch.zeros(width)
    for part in ("attention.output.LayerNorm", "output.LayerNorm"):
        block[f"{name}{part}.weight"] = torch.ones(width)
        block[f"{name}{part}.bias"] = torch.zeros(width)
    return block


def _head(config: Any, prefix: str, weight_Cd: Tensor, bias_C: Tensor) -> dict[str, Tensor]:
    dense, out = ("classifier.dense", "classifier.out_proj")
    if config.model_type == "bert":
        dense, out = (f"{prefix}.pooler.dense", "classifier")
    return {
        f"{dense}.weight": torch.eye(config.hidden_size) * SQUASH,
        f"{dense}.bias": torch.zeros(config.hidden_size),
        f"{out}.weight": weight_Cd.detach().float() / SQUASH,
        f"{out}.bias": bias_C.detach().float(),
    }
