"""What a GGUF file says of a model, as transformers says it: the configuration, and each parameter's tensor.

Knows no tokenizer and no folder. What llama.cpp's converter did to the weights is undone: rows of queries and keys that
lie in pairs (llama), norms with one added (Gemma). Whatever a file says that is not understood here is refused, since a
model that computes something else than it was trained to would go unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from feinschliff.models.gguf_file import GgufFile, Stored

_ROPE_FACTORS = "rope_freqs.weight"
_LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What all Llama 3.1, 3.2 and 3.3 have; the file only has what follows from it."""
_NAMES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
"""What every architecture has."""
_OPTIONAL = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
_READ_ELSEWHERE = {
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.type",
    "rope.scaling.factor",
}
_WITHOUT_MEANING = {"vocab_size", "rope.scaling.original_context_length", "rope.scaling.finetuned", "attention.causal"}
_FRACTIONS = {
    "attention.layer_norm_rms_epsilon",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.factor",
}
"""What need not be a whole number."""
_EXPERTS = ("expert_count", "expert_used_count")


@dataclass(frozen=True, slots=True)
class _Architecture:
    """One architecture of llama.cpp."""

    model_type: str
    """As transformers calls it."""
    paired_rows: bool = False
    """Whether rows of queries and keys lie as llama.cpp's rotation wants them."""
    raised_norms: bool = False
    """Whether the file's norms are one more than transformers'."""
    windows: bool = False
    """Whether some layers see a window only, with a rotation of their own in Gemma 3."""
    widest_layers: int | None = None
    """Layers of the one size whose scores are scaled by hidden size per head, not by the head's width."""


_ARCHITECTURES = {
    "llama": _Architecture("llama", paired_rows=True),
    "qwen2": _Architecture("qwen2"),
    "qwen3": _Architecture("qwen3"),
    "gemma2": _Architecture("gemma2", raised_norms=True, windows=True, widest_layers=46),
    "gemma3": _Architecture("gemma3_text", raised_norms=True, windows=True, widest_layers=62),
}


def configuration(file: GgufFile, special_ids: dict[str, Any]) -> Any:
    """The ``PreTrainedConfig`` of the model, with the ids of special tokens.

    Raises:
        ModelError: an architecture that is not converted, or something it says that is not understood.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    known = _architecture(file)
    fields = {**_values(file), **special_ids, "dtype": "float32"}
    fields["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[known.model_type]]
    with _refused(file):
        return AutoConfig.for_model(known.model_type, **fields)


def weights(file: GgufFile, config: Any) -> dict[str, Stored]:
    """Every parameter of the model, by transformers' names, in its order.

    Raises:
        ModelError: tensors are missing, left over, or of other sizes than the configuration says.
    """
    import torch
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
    from transformers import AutoModelForCausalLM

    known, name = _architecture(file), file.metadata["general.architecture"]
    arch = next(arch for arch, called in MODEL_ARCH_NAMES.items() if called == name)
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    with _refused(file), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tied = set(model.all_tied_weights_keys)
    found, missing = {}, []
    for parameter, value in model.state_dict().items():
        if parameter in tied:
            continue
        stem, _, kind = parameter.rpartition(".")
        called = f"{names.get_name(stem)}.{kind}"
        stored = file.tensors.get(called)
        if stored is None or stored.shape != tuple(value.shape):
            missing.append(f"{called} {tuple(value.shape)}")
            continue
        found[called] = (parameter, stored)
    if missing:
        raise file.refusal(f"{len(missing)} tensors are missing or of other sizes, the first is {missing[0]}")
    if left := sorted(file.tensors.keys() - found.keys() - {_ROPE_FACTORS}):
        raise file.refusal(f"{len(left)} of its tensors have no place in {known.model_type}, the first is {left[0]}")
    return {parameter: _undone(known, config, called, stored) for called, (parameter, stored) in found.items()}


@contextmanager
def _refused(file: GgufFile) -> Iterator[None]:
    """What transformers says of sizes that do not fit together becomes the file's fault."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (StrictDataclassError, ValueError, RuntimeError) as error:
        raise file.refusal(f"its sizes do not fit together: {str(error).splitlines()[-1].strip()}") from error


def _undone(known: _Architecture, config: Any, name: str, stored: Stored) -> Stored:
    """The tensor as it was before llama.cpp's converter."""
    if known.raised_norms and name.endswith("norm.weight"):
        return stored.plus(-1.0)
    if known.paired_rows and name.endswith((".attn_q.weight", ".attn_k.weight")):
        order = np.arange(stored.shape[0]).reshape(-1, config.head_dim // 2, 2).swapaxes(1, 2)
        return stored.in_order(order.reshape(-1))
    return stored


def _architecture(file: GgufFile) -> _Architecture:
    name = str(file.metadata.get("general.architecture"))
    if name not in _ARCHITECTURES:
        raise file.refusal(
            f"its architecture is {name!r}; these are converted: {', '.join(_ARCHITECTURES)}",
            "give the model as its authors publish it: a folder with safetensors, or hf:owner/name",
        )
    return _ARCHITECTURES[name]


def _values(file: GgufFile) -> dict[str, Any]:
    """The configuration's fields, special tokens apart."""
    known = _architecture(file)
    said = _said(file)
    values = {name: said[key] for key, name in (_NAMES | _OPTIONAL).items() if key in said}
    values["rms_norm_eps"] = _written(values["rms_norm_eps"])
    heads = values["num_attention_heads"]
    head_dim = said.get("attention.key_length", said.get("rope.dimension_count", values["hidden_size"] // heads))
    if {said.get("attention.value_length", head_dim), said.get("rope.dimension_count", head_dim)} != {head_dim}:
        raise file.refusal("its heads have keys, values or rotations of different widths")
    if head_dim % 2:
        raise file.refusal(f"its heads are {head_dim} wide, which cannot be rotated in pairs")
    if "token_embd.weight" not in file.tensors:
        raise file.refusal("it has no embeddings (token_embd.weight)")
    values |= {
        "num_key_value_heads": said.get("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "rope_parameters": _rotation(file, said, known, head_dim),
    }
    if known.widest_layers:
        wide = values["num_hidden_layers"] == known.widest_layers
        values["query_pre_attn_scalar"] = values["hidden_size"] // heads if wide else head_dim
    if not known.windows:
        values.pop("sliding_window", None)  # llama.cpp writes it for some, and computes without
    return values


def _said(file: GgufFile) -> dict[str, Any]:
    """What the file says of its architecture, without the prefix; numbers of experts must be zero."""
    prefix = f"{file.metadata['general.architecture']}."
    said = {key.removeprefix(prefix): value for key, value in file.metadata.items() if key.startswith(prefix)}
    experts = [said.pop(key, 0) for key in _EXPERTS]
    understood = _NAMES.keys() | _OPTIONAL.keys() | _READ_ELSEWHERE | _WITHOUT_MEANING
    unknown = sorted(said.keys() - understood)
    lists = sorted(key for key, value in said.items() if isinstance(value, list) and key in understood)
    if any(experts):
        raise file.refusal("it is a mixture of experts, which is not converted")
    if unknown or lists:
        raise file.refusal(f"it says something that is not understood here: {', '.join(unknown + lists)}")
    if missing := sorted(_NAMES.keys() - said.keys()):
        raise file.refusal(f"it does not say: {', '.join(missing)}")
    if wrong := sorted(key for key, value in said.items() if not _can_be(key, value)):
        raise file.refusal(f"damaged: values that cannot be, of {', '.join(wrong)}")
    layers = len({name.split(".")[1] for name in file.tensors if name.startswith("blk.")})
    if said["block_count"] != layers:
        raise file.refusal(f"it says {said['block_count']:,} layers and has {layers:,}")
    return said


def _can_be(key: str, value: Any) -> bool:
    """Whether it is a size, or, where it is no whole number, a positive one."""
    if key in _WITHOUT_MEANING or key == "rope.scaling.type":
        return True
    kinds = (int, float) if key in _FRACTIONS else (int,)
    return isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < math.inf


def _rotation(file: GgufFile, said: dict[str, Any], known: _Architecture, head_dim: int) -> dict[str, Any]:
    """Of queries and keys, by position: ``rope_parameters``."""
    kind = said.get("rope.scaling.type", "none")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": said.get("rope.freq_base", 10_000.0)}
    if kind == "linear":
        rope |= {"rope_type": "linear", "factor": said.get("rope.scaling.factor", 1.0)}
    elif kind != "none":
        raise file.refusal(f"its positions are scaled by {kind!r}, which is not converted")
    if _ROPE_FACTORS in file.tensors:
        rope |= _llama3(file, rope["rope_theta"], head_dim)
    if known.model_type != "gemma3_text":
        return rope
    near = {"rope_type": "default", "rope_theta": said.get("rope.freq_base_swa", 10_000.0)}
    return {"full_attention": rope, "sliding_attention": near}


def _llama3(file: GgufFile, theta: float, head_dim: int) -> dict[str, Any]:
    """Llama 3's scaling, recognised by the factors of its frequencies, which are all that the file has of it."""
    stored = np.concatenate(list(file.tensors[_ROPE_FACTORS].parts()))
    factor = float(stored.max())
    lengths = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    low, high = _LLAMA3_ROPE["low_freq_factor"], _LLAMA3_ROPE["high_freq_factor"]
    turns = _LLAMA3_ROPE["original_max_position_embeddings"] / lengths
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if stored.shape != expected.shape or not np.allclose(stored, expected, rtol=1e-4):
        raise file.refusal("the factors of its frequencies (rope_freqs) are not those of Llama 3")
    return {"rope_type": "llama3", "factor": factor, **_LLAMA3_ROPE}


def _written(value: float) -> float:
    """A number as its author wrote it: 1e-06, which fp32 spells 9.999999974752427e-07."""
    return float(f"{value:.6g}")
