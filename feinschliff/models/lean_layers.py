"""Layers of the Llama kind computed by ``fused``'s pieces instead of transformers' modules, where both give the same.

Llama, SmolLM, Mistral, Qwen 2 and 3, Gemma 2 and 3 and their like share one layer: norm, grouped attention with rotary
positions, norm, gated feed-forward; some norm queries and keys, some norm each part's output too. A layer with other
parts keeps its own forward. The modules stay where they are: adapters are found by the names transformers gives.
Alone here knows these modules' names. Shapes: T tokens, d hidden width, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from feinschliff.models import compiled
from feinschliff.models.fused import lora_linear, rms_norm, rotary
from feinschliff.models.quantised import QuantisedLinear

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
NORMS = ("input_layernorm", "post_attention_layernorm")
OUTPUT_NORMS = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
OTHERS = ("q_norm", "k_norm", "act_fn")
"""What an attention or feed-forward part may have besides."""


def lean(layer: nn.Module) -> Callable[..., Any] | None:
    """A forward for ``layer`` that does the same on packed tokens; None where it has parts that are not known.

    It is bound to the layer, as forwards are: a copy of the layer gets its own.
    """
    return MethodType(_forward, layer) if _is_known(layer) else None


def _forward(layer: Any, hidden_states: Tensor, *rest: Any, **given: Any) -> Any:
    if "packed_groups" not in given:  # transformers itself asks, with masks or caches
        return type(layer).forward(layer, hidden_states, *rest, **given)
    return _layer(layer, hidden_states[0], given["position_embeddings"], given["packed_groups"])[None]


def _is_known(layer: Any) -> bool:
    children = dict(layer.named_children())
    names = set(children)
    if names != {"self_attn", "mlp", *NORMS} and names != {"self_attn", "mlp", *NORMS, *OUTPUT_NORMS}:
        return False
    attention, mlp = dict(layer.self_attn.named_children()), dict(layer.mlp.named_children())
    if not set(ATTENTION) <= set(attention) <= {*ATTENTION, *OTHERS}:
        return False
    if not set(FEED_FORWARD) <= set(mlp) <= {*FEED_FORWARD, *OTHERS}:
        return False
    norms = [child for name, child in (*children.items(), *attention.items()) if "norm" in name]
    return all(_epsilon(norm) is not None for norm in norms) and hasattr(layer.self_attn, "head_dim")


def _epsilon(norm: nn.Module) -> float | None:
    if "RMSNorm" not in type(norm).__name__:
        return None
    found = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    return None if found is None else float(found)


def is_compilable(layer: Any) -> bool:
    """Whether ``compiled`` has the pieces of a layer that :func:`lean` knows: plain norms, and a product with SiLU."""
    names = [type(part).__name__ for name, part in layer.named_children() if "norm" in name]
    plain = not any(name.startswith("Gemma") for name in names)
    return plain and not hasattr(layer, OUTPUT_NORMS[0]) and type(layer.mlp.act_fn).__name__.startswith("SiLU")


def _norm(norm: Any, x: Tensor, by_compiler: bool = False) -> Tensor:
    if by_compiler:
        return compiled.rms_norm(x, norm.weight, _epsilon(norm) or 0.0)
    return rms_norm(x, norm.weight, _epsilon(norm) or 0.0, type(norm).__name__.startswith("Gemma"))


def _layer(layer: Any, x_Td: Tensor, positions: tuple[Tensor, Tensor], groups: Any) -> Tensor:
    norms_outputs, by_compiler = hasattr(layer, OUTPUT_NORMS[0]), getattr(layer, "compiled_pieces", False)
    attended = _attention(layer.self_attn, _norm(layer.input_layernorm, x_Td, by_compiler), positions, groups)
    if norms_outputs:
        attended = _norm(layer.post_attention_layernorm, attended)
    x_Td = x_Td + attended
    before = layer.pre_feedforward_layernorm if norms_outputs else layer.post_attention_layernorm
    mlp, normed = layer.mlp, _norm(before, x_Td, by_compiler)
    gate, up = linear(mlp.gate_proj, normed), linear(mlp.up_proj, normed)
    fed = linear(mlp.down_proj, compiled.gated(gate, up) if by_compiler else mlp.act_fn(gate) * up)
    return x_Td + (_norm(layer.post_feedforward_layernorm, fed) if norms_outputs else fed)


def _attention(attention: Any, x_Td: Tensor, positions: tuple[Tensor, Tensor], groups: Any) -> Tensor:
    num_tokens = len(x_Td)
    q, k, v = (
        linear(getattr(attention, name), x_Td).view(num_tokens, -1, attention.head_dim) for name in ATTENTION[:3]
    )
    if hasattr(attention, "q_norm"):
        q, k = _norm(attention.q_norm, q), _norm(attention.k_norm, k)
    cos, sin = (table[0].to(q.dtype) for table in positions)
    q, k = rotary(q, cos, sin), rotary(k, cos, sin)
    attend = ALL_ATTENTION_FUNCTIONS[attention.config._attn_implementation]
    heads = (x.transpose(0, 1)[None] for x in (q, k, v))
    out, _ = attend(attention, *heads, None, packed_groups=groups, **_told(attention))
    return linear(attention.o_proj, out.reshape(num_tokens, -1))


def _told(attention: Any) -> dict[str, Any]:
    """What transformers' own forward tells the attention function; some families keep the window in the config."""
    of_config = getattr(attention.config, "sliding_window", None)
    return {
        "scaling": attention.scaling,
        "sliding_window": getattr(attention, "sliding_window", of_config),
        "softcap": getattr(attention, "attn_logit_softcapping", None),
    }


def linear(module: Any, x_TK: Tensor) -> Tensor:
    """What ``module`` makes of ``x_TK``: a plain layer, one with a plain LoRA adapter of PEFT, or whatever it is."""
    if type(module) is nn.Linear and not _hooked(module):
        return F.linear(x_TK, module.weight, module.bias)
    adapter = _plain_lora(module, x_TK.dtype)
    if adapter is None:
        found: Tensor = module(x_TK)
        return found
    base = module.base_layer
    a, b = module.lora_A[adapter].weight, module.lora_B[adapter].weight
    held = base if type(base) is QuantisedLinear else base.weight
    return lora_linear(x_TK, held, base.bias, a, b, module.scaling[adapter])


def _plain_lora(module: Any, dtype: torch.dtype) -> str | None:
    """The name of the only adapter of a layer, where it is a plain low-rank update that is switched on.

    ``dtype`` is that of the inputs, in which a base in fewer bits computes.
    """
    kind = type(getattr(module, "base_layer", None))
    if type(module).__module__ != "peft.tuners.lora.layer" or kind not in (nn.Linear, QuantisedLinear):
        return None
    names, base = module.active_adapters, module.base_layer
    if len(names) != 1 or module.disable_adapters or module.merged or names[0] in module.lora_variant:
        return None
    name: str = names[0]
    if name not in module.lora_A:
        return None
    low, high = module.lora_A[name], module.lora_B[name]
    plain = low.bias is None and high.bias is None and isinstance(module.lora_dropout[name], nn.Identity)
    frozen = not any(parameter.requires_grad for parameter in base.parameters())
    alone = not any(_hooked(part) for part in (module, base, low, high))
    computes_in = dtype if kind is QuantisedLinear else base.weight.dtype
    return name if plain and frozen and alone and low.weight.dtype == computes_in else None


def _hooked(module: Any) -> bool:
    """Whether something is done around its forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
