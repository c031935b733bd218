"""Writes tiny random decoders as GGUF files, as llama.cpp's converter does it: names, order of rows, raised norms."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map
from gguf.quants import quantize
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoConfig, AutoModelForCausalLM

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<think>", "</think>"]
TEXT = (
    "the cat sat on the mat and the dog sat on the log; 12 345 678 it's what they'd say: café, Œuvre\n\n    return x\n"
)
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SHAPE = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
MODEL_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3": "gemma3_text"}
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


@cache
def byte_level(rule: str = "smollm") -> Tokenizer:
    """What a model's authors would publish: BPE over bytes, trained here, with special tokens in front and behind."""
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    if rule == "smollm":
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(steps)
    made.decoder = decoders.ByteLevel()
    if rule == "qwen2":
        made.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=340, special_tokens=CONTROL, initial_alphabet=alphabet, min_frequency=1, show_progress=False
    )
    made.train_from_iterator([TEXT] * 3, trainer)
    made.add_tokens([AddedToken(token, normalized=False) for token in USER_DEFINED])
    return made


def tokenizer_entries(made: Tokenizer, rule: str) -> dict[str, Any]:
    """What the converter says of a byte-level tokenizer."""
    vocabulary = made.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    types = [3 if piece in CONTROL else 4 if piece in USER_DEFINED else 1 for piece in pieces]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": rule,
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in json.loads(made.to_str())["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def model(architecture: str = "llama", **fields: Any) -> Any:
    """A random decoder of transformers."""
    own = {"query_pre_attn_scalar": 16, "sliding_window": 4} if architecture.startswith("gemma") else {}
    config = AutoConfig.for_model(
        MODEL_TYPES[architecture],
        vocab_size=byte_level().get_vocab_size(),
        intermediate_size=96,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        **{**SHAPE, **own, "tie_word_embeddings": architecture != "qwen2", **fields},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = AutoModelForCausalLM.from_config(config)
        for name, parameter in made.named_parameters():
            if parameter.ndim == 1:  # norms and biases start alike: a mix-up would not show
                parameter.data += 0.3 * torch.randn_like(parameter)
            elif "proj" in name:
                parameter.data *= 5
    return made.eval()


def entries(architecture: str, made: Any) -> dict[str, Any]:
    """What the converter says of a model, tokenizer included."""
    config = made.config
    theta = (config.rope_parameters.get("full_attention") or config.rope_parameters)["rope_theta"]
    said = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim if architecture != "qwen2" else SHAPE["head_dim"],
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": theta,
    }
    if architecture.startswith("gemma"):
        said["attention.sliding_window"] = config.sliding_window
    if architecture == "gemma2":
        said |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    facts = {"general.architecture": architecture, "general.name": "Tiny", "general.license": "apache-2.0"}
    own = {f"{architecture}.{key}": value for key, value in said.items()}
    return {**facts, "general.languages": ["en"], **own, **tokenizer_entries(byte_level(), "smollm")}


def tensors(architecture: str, made: Any) -> dict[str, np.ndarray]:
    """The weights by llama.cpp's names, as its converter lays them out."""
    arch = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(arch, made.config.num_hidden_layers)
    found = {}
    for name, value in made.state_dict().items():
        if name == "lm_head.weight" and made.config.tie_word_embeddings:
            continue
        stem, _, kind = name.rpartition(".")
        values = value.numpy()
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = made.config.num_attention_heads if stem.endswith("q_proj") else made.config.num_key_value_heads
            pairs = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        if architecture.startswith("gemma") and stem.endswith("norm"):
            values = values + 1
        found[f"{names.get_name(stem)}.{kind}"] = values
    return found


def write(
    file: Path,
    architecture: str = "llama",
    *,
    made: Any = None,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    change: Change | None = None,
) -> Path:
    """A whole file; matrices of ``kind``, vectors in fp32. ``change`` may alter what is said and what is there."""
    made = made or model(architecture)
    said, there = entries(architecture, made), tensors(architecture, made)
    if change:
        change(said, there)
    writer = GGUFWriter(file, said.pop("general.architecture"))
    for key, value in said.items():
        add(writer, key, value)
    for name, values in there.items():
        used = kind if values.ndim == 2 else GGMLQuantizationType.F32
        writer.add_tensor(name, quantize(np.ascontiguousarray(values), used), raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def add(writer: GGUFWriter, key: str, value: Any) -> None:
    """One metadata entry, of the type that the converter takes for such a value."""
    kinds = {bool: writer.add_bool, str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}
    (writer.add_array if isinstance(value, list) else kinds[type(value)])(key, value)
