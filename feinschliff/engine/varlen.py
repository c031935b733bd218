"""Attention over rows that lie end to end as one kernel has it: Flash Attention 2 (Dao 2023) through PyTorch's
``torch.nn.attention.varlen``. Nothing is padded, and no scores are kept.

It knows causality, sliding windows and grouped heads; 16-bit types, heads of up to 256 numbers, GPUs from Ampere on.
What it does not know (capped scores, dropout, keys before the row) is computed by groups that are padded, as on other
devices. ``flex_attention`` would know capped scores too, but is compiled for each network, and slow where it is not.
Knows no architecture. Shapes: T tokens, H query heads, K key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeGuard

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from feinschliff.engine.batching import Group, GroupsElsewhere

WIDEST, MULTIPLE = 256, 8
"""Of heads: the kernel's own limits."""
AMPERE = (8, 0)
ALL, CAUSAL = (-1, -1), (-1, 0)
"""Windows: keys to the left and to the right; -1: all."""


def takes(groups: Sequence[Group] | None, q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor) -> TypeGuard[GroupsElsewhere]:
    """Whether the kernel computes these."""
    width = q_THD.shape[-1]
    return (
        isinstance(groups, GroupsElsewhere)
        and q_THD.device.type == "cuda"
        and q_THD.dtype in (torch.bfloat16, torch.float16)
        and {x.dtype for x in (k_TKD, v_TKD)} == {q_THD.dtype}
        and k_TKD.shape[-1] == v_TKD.shape[-1] == width <= WIDEST
        and width % MULTIPLE == 0
        and _capability(q_THD.device) >= AMPERE
    )


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def attend(
    q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, groups: GroupsElsewhere, scale: float, window: tuple[int, int]
) -> Tensor:
    """softmax(Q K^T * scale) V within each row [T, H, D]; tokens after the last row are filling and get zeros."""
    stop, borders, longest = groups[-1].stop, groups.borders, groups.longest
    found = varlen_attn(
        q_THD[:stop],
        k_TKD[:stop],
        v_TKD[:stop],
        borders,
        borders,
        longest,
        longest,
        scale=scale,
        window_size=window,
        enable_gqa=q_THD.shape[1] != k_TKD.shape[1],
    )
    out: Tensor = found if isinstance(found, Tensor) else found[0]
    return torch.cat([out, out.new_zeros(len(q_THD) - stop, *out.shape[1:])])


def causal_window(tokens: int, longest: int) -> tuple[int, int]:
    """As the kernel counts it: each token sees itself and ``tokens - 1`` before it."""
    return CAUSAL if tokens >= longest else (tokens - 1, 0)
