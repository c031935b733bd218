"""Tiny random decoders of many families, for tests: width 32, two layers, and everything that tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from feinschliff.engine import causal_attention
from feinschliff.models.decoder import StagedDecoder

WINDOW = 20
"""Shorter than some rows of tests, longer than the tokens on which layers are tried out."""
SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama with biases": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "mistral": ("MistralConfig", {"sliding_window": WINDOW, "head_dim": 16}),
    "qwen2": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "gemma": ("GemmaConfig", {"head_dim": 8}),
    "gemma2": (
        "Gemma2Config",
        {
            "head_dim": 8,
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 5,
            "attn_logit_softcapping": 1.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {"head_dim": 8, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "phi3": ("Phi3Config", {"sliding_window": WINDOW}),
    "granite": (
        "GraniteConfig",
        {"embedding_multiplier": 3.0, "logits_scaling": 4.0, "residual_multiplier": 0.7, "attention_multiplier": 0.2},
    ),
    "cohere2": ("Cohere2Config", {"logit_scale": 0.25, "sliding_window": WINDOW, "sliding_window_pattern": 2}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0]}),
    "ministral3": ("Ministral3Config", {"head_dim": 8}),
    "deepseek": (
        "DeepseekV3Config",
        {
            "num_key_value_heads": 4,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 6,
            "n_routed_experts": 2,
            "num_experts_per_tok": 1,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 16,
        },
    ),
}
LEAN = ("llama", "llama with biases", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
"""Computed by our own pieces; the others keep transformers' layers."""


def config_of(name: str, **changes: Any) -> Any:
    """A configuration of a family in ``FAMILIES``, or of a class of transformers."""
    import transformers

    kind, more = FAMILIES.get(name, (name, {}))
    transformers.utils.logging.set_verbosity_error()
    return getattr(transformers, kind)(**{**SHAPE, **more, **changes})


def model_of(config: Any, seed: int = 0) -> Any:
    """A random model in which no norm is one and no bias zero."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).eval()
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def body_of(name: str, **changes: Any) -> StagedDecoder:
    """The decoder as it is loaded, lean where it can be."""
    body = StagedDecoder(model_of(config_of(name, **changes)), causal_attention.NAME)
    body.make_lean()
    return body


def save_tiny_decoder(folder: Path, name: str = "llama", **changes: Any) -> Path:
    """A model folder as the Hub has them: a random decoder, and a tokenizer that cuts texts into bytes."""
    from tests.models.chat_tokenizers import FAMILIES as TEMPLATES
    from tests.models.chat_tokenizers import tokenizer_for

    tokenizer = tokenizer_for("chatml", pattern=None)
    tokenizer.model_max_length = 256
    tokenizer.pad_token = "<|endoftext|>"
    assert TEMPLATES["chatml"][1] == tokenizer.eos_token
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    model_of(config_of(name, **{"vocab_size": len(tokenizer), **ids, **changes})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
