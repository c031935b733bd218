"""Encoder, pooling and head written as transformers' own classifiers and answerers. Knows no data and no loop.

Mean pooling becomes one more post-norm block: query and key zero (uniform attention over the real tokens), value and
output the identity times the weight of the mean, feed-forward zero, norms plain. The head's tanh layer is the identity,
scaled so that tanh is as linear as it was in training. No custom code is needed to load the folder.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import Tensor

from feinschliff.models.heads import MEAN_WEIGHT, SQUASH, Pooling

Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
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
    label_names: Sequence[str],
    problem: Problem,
) -> Any:
    """A ``PreTrainedModel`` for sequence classification with the same scores.

    ``body_state`` are the fp32 weights of the base encoder by its own parameter names.
    """
    from transformers import AutoModelForSequenceClassification

    config = _labelled(encoder_model.config, label_names)
    config.problem_type = problem
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


def _labelled(config: Any, label_names: Sequence[str]) -> Any:
    config = copy.deepcopy(config)
    config._attn_implementation = "sdpa"
    config.num_labels = len(label_names)
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}
    return config


def save_sequence_classifier(
    network: Any, weights: Mapping[str, Tensor], label_names: Sequence[str], problem: Problem, folder: Path
) -> None:
    """Write a network with ``body``, ``head`` and ``pooling``; ``weights`` are all of it in fp32, by its names."""
    model = to_native(
        network.body.model,
        _of_body(weights),
        weights["head.linear.weight"],
        weights["head.linear.bias"],
        network.pooling,
        label_names,
        problem,
    )
    model.save_pretrained(folder, safe_serialization=True)


def save_token_classifier(
    network: Any, weights: Mapping[str, Tensor], label_names: Sequence[str], folder: Path
) -> None:
    """Write a network with ``body`` and a linear ``head`` on its states as transformers' own token classifier."""
    from transformers import AutoModelForTokenClassification

    with torch.random.fork_rng():
        model = AutoModelForTokenClassification.from_config(_labelled(network.body.model.config, label_names))
    state = {f"{model.base_model_prefix}.{name}": value for name, value in _of_body(weights).items()}
    state |= {f"classifier.{part}": weights[f"head.linear.{part}"].detach().float() for part in ("weight", "bias")}
    model.load_state_dict(state)
    model.eval().save_pretrained(folder, safe_serialization=True)


def save_question_answerer(network: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write a network with ``body`` and a head of two outputs (start, end) as transformers' own question answerer."""
    from transformers import AutoModelForQuestionAnswering

    with torch.random.fork_rng():
        model = AutoModelForQuestionAnswering.from_config(_labelled(network.body.model.config, ("start", "end")))
    state = {f"{model.base_model_prefix}.{name}": value for name, value in _of_body(weights).items()}
    state |= {f"qa_outputs.{part}": weights[f"head.linear.{part}"].detach().float() for part in ("weight", "bias")}
    model.load_state_dict(state)
    model.eval().save_pretrained(folder, safe_serialization=True)


def _of_body(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = "body.model."
    return {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}


def read_head(folder: Path, squashed: bool = True) -> tuple[Tensor, Tensor]:
    """Weight [C, d] and bias [C] of the linear head of a folder that was written here.

    ``squashed``: as sequence classifiers have it, behind a tanh.
    """
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        out = next(name for name in ("classifier", "classifier.out_proj", "qa_outputs") if f"{name}.weight" in names)
        scale = SQUASH if squashed else 1.0
        return file.get_tensor(f"{out}.weight") * scale, file.get_tensor(f"{out}.bias")


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
