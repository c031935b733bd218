"""An encoder with pooling written as sentence-transformers reads it, and read with plain transformers.

Knows no data and no loop, and does not need sentence-transformers.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from feinschliff.models.heads import Pooling
from feinschliff.models.load import load_tokenizer
from feinschliff.models.plain import Complete

BODY = "body.model."
_MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))


def save_sentence_encoder(network: Any, weights: Mapping[str, Tensor], max_length_tokens: int, folder: Path) -> None:
    """Write a network with ``body`` and ``pooling``; ``weights`` are all of it in fp32, by its names.

    The pooling layer that transformers' encoders have of their own is not used; it is written as the identity, so that
    the folder loads without a word about missing weights.
    """
    from transformers import AutoModel

    config = copy.deepcopy(network.body.model.config)
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng():
        model = AutoModel.from_config(config)
    state = {name.removeprefix(BODY): value.float() for name, value in weights.items() if name.startswith(BODY)}
    for name, value in model.state_dict().items():
        if name.startswith("pooler."):
            state[name] = torch.eye(len(value)) if value.ndim == 2 else torch.zeros_like(value)
    model.load_state_dict(state)
    model.eval().save_pretrained(folder, safe_serialization=True)
    write_modules(folder, network.pooling, config.hidden_size, max_length_tokens)


def write_modules(folder: Path, pooling: Pooling, width: int, max_length_tokens: int) -> None:
    """Write what says pooling and vectors of length one, beside an encoder ``width`` wide."""
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(_MODULES)
    ]
    how = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    for path, _ in _MODULES[1:]:
        (folder / path).mkdir()
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": how,
        "2_Normalize/config.json": {},
        "sentence_bert_config.json": {"max_seq_length": max_length_tokens, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@torch.inference_mode()
def plain_vectors(
    folder: Path, texts: Sequence[str], pooling: Pooling, complete: Complete = lambda model: model, batch_rows: int = 8
) -> Tensor:
    """Vectors [S, d] of length one from ``AutoModel``, made whole by ``complete``, on padded batches."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    model, tokenizer, parts = complete(model.eval()), load_tokenizer(folder), []
    for begin in range(0, len(texts), batch_rows):
        given = tokenizer(list(texts[begin : begin + batch_rows]), padding=True, truncation=True, return_tensors="pt")
        states_BLd = model(**given).last_hidden_state
        virtual = states_BLd.shape[1] - given["input_ids"].shape[1]
        real_BL = F.pad(given["attention_mask"], (virtual, 0), value=1).to(states_BLd.dtype)
        mean_Bd = (states_BLd * real_BL[..., None]).sum(1) / real_BL.sum(1, keepdim=True)
        parts.append(F.normalize(states_BLd[:, 0] if pooling == "cls" else mean_Bd, dim=1))
    return torch.cat(parts)
