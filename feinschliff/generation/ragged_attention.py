"""Attention of one step: rows that generate (one token each) and stretches of prompts, laid end to end without padding.

Every token's key and value is written into its row's place (``kv_cache``) and each token sees its own row up to itself,
or the last ``window`` tokens of it. Several query heads may share a key head (Ainslie et al. 2023); no key is copied
for that. On a CPU scores are written out: two batched products over all rows where they lie take a third of the fused
kernel's time at one query a row. Prompts are read in blocks of queries, so that keys behind a block are never computed.
On an accelerator the fused kernel is used.

Knows no architecture. Shapes: T tokens of a step, n rows that generate, H query heads, K key heads, G = H / K, D head
width, C tokens a row of a slab has room for, t tokens of a stretch, L tokens up to the end of a block of its queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from feinschliff.generation.kv_cache import Place, Slab

BLOCK_TOKENS = 128
"""Queries of a prompt computed at once."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a layer says about its attention: factor of the scores, tokens seen (None: all before), cap of the
    scores."""

    scale: float
    window: int | None = None
    softcap: float | None = None


@dataclass(slots=True)
class Section:
    """The generating rows of a slab, whose new tokens are ``begin`` to ``end`` of the step; ``lengths`` are those
    before."""

    slab: Slab
    begin: int
    end: int
    lengths: Tensor
    _targets: dict[int, Tensor] = field(default_factory=dict)
    biases: dict[tuple[int | None, torch.dtype], Tensor] = field(default_factory=dict)

    """Made at first need, by window and type."""

    def targets(self, num_heads: int) -> Tensor:
        """[n * K] rows of a layer's keys, seen as [S * K * C, D], into which the new ones go."""
        if num_heads not in self._targets:
            device, capacity = self.lengths.device, self.slab.capacity
            heads = torch.arange((self.end - self.begin) * num_heads, device=device) * capacity
            self._targets[num_heads] = heads + self.lengths.repeat_interleave(num_heads)
        return self._targets[num_heads]

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[n, 1, 1, C] to be added to the scores: 0 where a row has a token that is seen, else -inf."""
        if (window, dtype) not in self.biases:
            places = torch.arange(self.slab.capacity, device=self.lengths.device)
            seen = places <= self.lengths[:, None]
            if window is not None:
                seen &= places > self.lengths[:, None] - window
            bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
            self.biases[window, dtype] = bias[:, None, None]
        return self.biases[window, dtype]


@dataclass(slots=True)
class Stretch:
    """Tokens ``begin`` to ``end`` of a step: the next ones of a prompt, behind the ``start`` that are in place
    already."""

    place: Place
    begin: int
    end: int
    start: int


def section(slab: Slab, begin: int, device: torch.device) -> Section:
    """The next step of the rows that generate in ``slab``, which must have room for their new tokens."""
    lengths = [place.length for place in slab.places[: slab.num_writing]]
    return Section(slab, begin, begin + len(lengths), torch.tensor(lengths, device=device))


def attend(
    layer: int,
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    parts: Sequence[Section | Stretch],
    shape: Shape,
) -> Tensor:
    """Write the step's keys and values into their places and attend: [T, H, D of the values].

    Tokens that belong to no part are filling; their output is zero.
    """
    if len(parts) == 1 and isinstance(parts[0], Section) and parts[0].end == len(q_THD):
        return _generating(layer, q_THD, k_TKD, v_TKD, parts[0], shape)
    out = q_THD.new_empty(*q_THD.shape[:2], v_TKD.shape[2])
    out[max(part.end for part in parts) :] = 0
    for part in parts:
        one = slice(part.begin, part.end)
        given = (q_THD[one], k_TKD[one], v_TKD[one])
        if isinstance(part, Section):
            out[one] = _generating(layer, *given, part, shape)
        else:
            _read(layer, *given, part, shape, out[one])
    return out


def _generating(layer: int, q_nHD: Tensor, k_nKD: Tensor, v_nKD: Tensor, part: Section, shape: Shape) -> Tensor:
    num_rows, num_heads, width = k_nKD.shape
    views = part.slab.views(layer, k_nKD, v_nKD)
    targets, out_width = part.targets(num_heads), v_nKD.shape[2]
    views.flat_keys.index_copy_(0, targets, k_nKD.reshape(-1, width))
    views.flat_values.index_copy_(0, targets, v_nKD.reshape(-1, out_width))
    bias = part.bias(shape.window, q_nHD.dtype)
    if q_nHD.device.type != "cpu" and shape.softcap is None:
        q, k, v = (x.reshape(num_rows, num_heads, -1, x.shape[-1]) for x in (q_nHD, views.keys, views.values))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=shape.scale).view(num_rows, -1, out_width)
    scores = torch.bmm(q_nHD.reshape(num_rows * num_heads, -1, width), views.keys_transposed)
    weights = _softmax(scores.view(num_rows, num_heads, -1, scores.shape[2]), bias, shape)
    return torch.bmm(weights.view(scores.shape), views.values).view(num_rows, -1, out_width)


def _softmax(scores: Tensor, bias: Tensor, shape: Shape) -> Tensor:
    """Weights of keys; ``scores`` are overwritten."""
    if shape.softcap is None:
        torch.add(bias, scores, alpha=shape.scale, out=scores)
    else:
        scores.mul_(shape.scale / shape.softcap).tanh_().mul_(shape.softcap).add_(bias)
    return torch.softmax(scores, -1)


def _read(
    layer: int, q_tHD: Tensor, k_tKD: Tensor, v_tKD: Tensor, part: Stretch, shape: Shape, out_tHD: Tensor
) -> None:
    """Attention of a stretch, written to ``out_tHD``."""
    place, end = part.place, part.start + part.end - part.begin
    keys, values = (x[place.slot] for x in place.slab.layer(layer, k_tKD, v_tKD))
    keys[:, part.start : end] = k_tKD.transpose(0, 1)
    values[:, part.start : end] = v_tKD.transpose(0, 1)
    q_KGtD, out_KGtD = (x.view(len(x), len(keys), -1, x.shape[2]).permute(1, 2, 0, 3) for x in (q_tHD, out_tHD))
    for begin in range(0, len(q_tHD), BLOCK_TOKENS):
        block = slice(begin, min(begin + BLOCK_TOKENS, len(q_tHD)))
        last = part.start + block.stop
        first = 0 if shape.window is None else max(0, part.start + begin + 1 - shape.window)
        out_KGtD[:, :, block] = _block(q_KGtD[:, :, block], keys[:, first:last], values[:, first:last], shape)


def _block(q_KGbD: Tensor, k_KLD: Tensor, v_KLD: Tensor, shape: Shape) -> Tensor:
    """Attention of the last ``b`` of L tokens: [K, G, b, D]."""
    queries, length = q_KGbD.shape[2], k_KLD.shape[1]
    bias = _hidden(queries, length, shape.window, q_KGbD.dtype, q_KGbD.device)
    if q_KGbD.device.type != "cpu" and shape.softcap is None:
        k, v = (x[:, None].expand(-1, q_KGbD.shape[1], -1, -1) for x in (k_KLD, v_KLD))
        return F.scaled_dot_product_attention(q_KGbD, k, v, attn_mask=bias, scale=shape.scale)
    q = q_KGbD.reshape(len(k_KLD), -1, q_KGbD.shape[3])
    scores = torch.bmm(q, k_KLD.transpose(1, 2)).view(*q_KGbD.shape[:3], length)
    weights = _softmax(scores, bias, shape).view(len(k_KLD), -1, length)
    return torch.bmm(weights, v_KLD).view(*q_KGbD.shape[:3], -1)


@lru_cache(maxsize=32)
def _hidden(queries: int, keys: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[b, L] to be added to the scores of the last ``queries`` of ``keys`` tokens: 0 where seen, else -inf."""
    distance = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
    seen = (distance >= 0) & (distance < (keys + 1 if window is None else window))
    return torch.zeros(queries, keys, dtype=dtype, device=device).masked_fill_(~seen, float("-inf"))
