"""Tiny random decoders and a byte-level tokenizer for the mechanics of generation. Knows no test."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

END = 0
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
MERGES = [("l", "l"), ("ll", "o"), ("t", "o"), ("o", "p"), ("to", "p"), ("Ã", "¤"), ("¤", "top"), ("!", "!")]
"""Among them one that joins the last byte of a letter with what follows it."""
VOCABULARY = 2 + 256 + len(MERGES)
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 200,
    "eos_token_id": END,
    "bos_token_id": 1,
    "pad_token_id": END,
    "tie_word_embeddings": False,
    "initializer_range": 0.3,
}
"""Weights large enough that answers differ from each other."""
KINDS = ["llama", "mistral", "qwen2", "qwen3", "gemma3", "gpt2"]


@cache
def tokenizer() -> Any:
    """Bytes, a few merges, an end token and a beginning token; the same each time."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<end>", "<begin>", *alphabet, *(a + b for a, b in MERGES)]
    inner = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, MERGES))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", bos_token="<begin>")
    found.chat_template = TEMPLATE
    return found


def model(kind: str, **changes: Any) -> Any:
    """A random decoder in fp32; of one kind and shape always the same weights."""
    shape = {**SHAPE, **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return _made(kind, shape).eval()


def _made(kind: str, shape: dict[str, Any]) -> Any:
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape))
    if kind == "mistral":
        return MistralForCausalLM(MistralConfig(**shape, sliding_window=10))
    if kind == "qwen2":
        config = Qwen2Config(**shape, use_sliding_window=True, sliding_window=12, max_window_layers=1)
        made = Qwen2ForCausalLM(config)
        for layer in made.model.layers:  # biases begin at zero, where nothing would be seen of them
            torch.nn.init.normal_(layer.self_attn.q_proj.bias)
            torch.nn.init.normal_(layer.self_attn.k_proj.bias)
        return made
    if kind == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape))
    if kind == "gemma3":
        types = ["sliding_attention", "sliding_attention", "full_attention"]
        return Gemma3ForCausalLM(
            Gemma3TextConfig(**shape, sliding_window=9, layer_types=types, query_pre_attn_scalar=8)
        )
    if kind == "gpt2":
        keys = ("vocab_size", "eos_token_id", "bos_token_id", "pad_token_id", "initializer_range")
        given = {key: shape[key] for key in keys}
        return GPT2LMHeadModel(GPT2Config(**given, n_embd=48, n_layer=2, n_head=4, n_positions=200))
    assert kind == "mamba"
    return MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, eos_token_id=END))


def prompts(*lengths: int) -> list[list[int]]:
    """Made-up prompts that share no beginning."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(2, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def greedy(network: Any, prompt: list[int], most: int, **options: Any) -> list[int]:
    """What ``model.generate`` answers to one prompt."""
    with torch.inference_mode():
        out = network.generate(
            torch.tensor([prompt]), max_new_tokens=most, do_sample=False, pad_token_id=END, **options
        )
    found: list[int] = out[0, len(prompt) :].tolist()
    return found
