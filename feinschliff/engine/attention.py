"""Attention over rows that lie end to end, for any transformers model with pluggable attention.

Rows come sorted by length and are padded inside small groups only. On CPUs scores and softmax are written out, forward
and backward: for most lengths several times faster than the fused kernel, whose backward in bf16 takes four to eighteen
times its forward for rows of up to 200 tokens. Short rows are computed in fp32, middle ones in the type they come in
(the softmax inside in fp32, as transformers' own plain attention does), and long ones, whose score matrices would fill
the memory, by the fused kernel in fp32 (``benchmarks/attention.py``). On an accelerator rows are computed by the kernel
for rows laid end to end where it knows them (``engine.varlen``), else by the fused kernel.

A layer may give keys and values that every row's tokens attend to beside the row's own (a prefix of P: [2, H, P, D]).
Knows no architecture.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from feinschliff.engine import varlen
from feinschliff.engine.batching import Group

NAME = "feinschliff_packed"
FP32_BELOW_TOKENS = 64
"""Shorter rows cost the same in fp32 as in bf16."""
FUSED_FROM_TOKENS = 256
"""Groups whose rows are at least this long go to the fused kernel: there the score matrix outweighs its overhead."""


def _spread(x_THD: Tensor, group: Group, dtype: torch.dtype) -> Tensor:
    """Rows of a group, padded: [B * H, L, D]. Padded in the type they come in; one pass transposes and casts."""
    heads, width = x_THD.shape[1:]
    part = x_THD[group.start : group.stop]
    if group.index is not None:
        part = part.new_zeros(group.rows * group.longest, heads, width).index_copy_(0, group.index, part)
    out = part.new_empty(group.rows, heads, group.longest, width, dtype=dtype)
    out.copy_(part.view(group.rows, group.longest, heads, width).transpose(1, 2))
    return out.view(group.rows * heads, group.longest, width)


def _gather(x_NLD: Tensor, group: Group, out_THD: Tensor) -> None:
    """The way back: write the real tokens of [B * H, L, D] into their place."""
    heads, width = out_THD.shape[1:]
    part = x_NLD.view(group.rows, heads, group.longest, width).transpose(1, 2)
    target = out_THD[group.start : group.stop]
    if group.index is None:
        target.view(group.rows, group.longest, heads, width).copy_(part)
        return
    flat = target.new_empty(group.rows, group.longest, heads, width).copy_(part)
    torch.index_select(flat.view(-1, heads, width), 0, group.index, out=target)


def _scaled(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """``scale * (a @ b)`` per matrix, in one pass."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0.0, alpha=scale)


def _joined(prefix_HPD: Tensor | None, x_NLD: Tensor, rows: int) -> Tensor:
    """Keys or values of rows behind the prefix, [B * H, P + L, D]; as they are where there is none."""
    if prefix_HPD is None:
        return x_NLD
    before = prefix_HPD.to(x_NLD.dtype).expand(rows, *prefix_HPD.shape)
    return torch.cat([before.reshape(len(x_NLD), -1, x_NLD.shape[2]), x_NLD], 1)


def _parted(grad_NLD: Tensor, grad_HPD: Tensor | None, rows: int) -> Tensor:
    """The way back: the prefix's part is summed over rows into ``grad_HPD``; the rows' own part comes back."""
    if grad_HPD is None:
        return grad_NLD
    num = grad_HPD.shape[1]
    grad_HPD += grad_NLD[:, :num].reshape(rows, *grad_HPD.shape).sum(0)
    return grad_NLD[:, num:]


def _empty(like_THD: Tensor, groups: list[Group]) -> Tensor:
    """Room for an output; tokens after the last group are filling and stay zero."""
    out = torch.empty_like(like_THD)
    out[groups[-1].stop :] = 0
    return out


class _PackedAttention(torch.autograd.Function):
    """softmax(Q K^T * scale) V within each row (Vaswani et al. 2017), with its gradient, group by group.

    With a prefix, K and V are ``[prefix; the row's own]`` (Li and Liang 2021).
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_THD: Tensor,
        k_THD: Tensor,
        v_THD: Tensor,
        prefix_2HPD: Tensor | None,
        scale: float,
        groups: list[Group],
        dropout: float,
    ) -> Tensor:
        out, kept = _empty(q_THD, groups), []
        before_k, before_v = (None, None) if prefix_2HPD is None else prefix_2HPD
        for group in groups:
            dtype = _computed_in(group, q_THD)
            q, k, v = (_spread(x, group, dtype) for x in (q_THD, k_THD, v_THD))
            k, v = _joined(before_k, k, group.rows), _joined(before_v, v, group.rows)
            scores = _scaled(q, k.transpose(1, 2), scale)
            if group.bias_B11L is not None:
                own = scores if prefix_2HPD is None else scores[..., -group.longest :]
                own.view(group.rows, -1, group.longest, group.longest).add_(group.bias_B11L)
            weights = torch.softmax(scores, -1)
            mask = None
            if dropout > 0.0:
                mask = (torch.rand_like(weights, dtype=torch.float32) >= dropout).to(dtype).div_(1.0 - dropout)
            _gather(torch.bmm(weights if mask is None else weights * mask, v), group, out)
            kept.append((q, k, v, weights, mask))
        ctx.kept, ctx.groups, ctx.scale, ctx.prefix_2HPD = kept, groups, scale, prefix_2HPD
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_THD,) = grads
        dq, dk, dv = (_empty(grad_THD, ctx.groups) for _ in range(3))
        d_prefix = None if ctx.prefix_2HPD is None else torch.zeros_like(ctx.prefix_2HPD, dtype=torch.float32)
        before_k, before_v = (None, None) if d_prefix is None else d_prefix
        for group, (q, k, v, weights, mask) in zip(ctx.groups, ctx.kept, strict=True):
            grad = _spread(grad_THD, group, weights.dtype)
            used = weights if mask is None else weights * mask
            _gather(_parted(torch.bmm(used.transpose(1, 2), grad), before_v, group.rows), group, dv)
            del used
            grad_weights = torch.bmm(grad, v.transpose(1, 2))
            if mask is not None:
                grad_weights = grad_weights.mul_(mask)
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            _gather(_scaled(grad_scores, k, ctx.scale), group, dq)
            _gather(_parted(_scaled(grad_scores.transpose(1, 2), q, ctx.scale), before_k, group.rows), group, dk)
        del ctx.kept
        if d_prefix is not None:
            d_prefix = d_prefix.to(ctx.prefix_2HPD.dtype)
        return dq, dk, dv, d_prefix, None, None, None


def _computed_in(group: Group, like: Tensor) -> torch.dtype:
    return torch.float32 if group.longest < FP32_BELOW_TOKENS else like.dtype


def _fused(
    q: Tensor, k: Tensor, v: Tensor, prefix: Tensor | None, scale: float, group: Group, dropout: float
) -> Tensor:
    """One group through PyTorch's fused kernel: [t, H, D] of the group's tokens."""
    heads, given = q.shape[1], q.dtype
    dtype = torch.float32 if q.device.type == "cpu" else given
    q, k, v = (_spread(x, group, dtype).view(group.rows, heads, group.longest, -1) for x in (q, k, v))
    bias = None if group.bias_B11L is None else group.bias_B11L.to(q.device, q.dtype)
    k, v, bias = _behind(prefix, k, v, bias)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=scale)
    flat = out.transpose(1, 2).reshape(group.rows * group.longest, heads, -1).to(given)
    return flat if group.index is None else flat.index_select(0, group.index)


def _behind(
    prefix_2HPD: Tensor | None, k_BHLD: Tensor, v_BHLD: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values and bias (or mask) of rows with the prefix before them, seen by all; as they are without one."""
    if prefix_2HPD is None:
        return k_BHLD, v_BHLD, bias
    before_k, before_v = prefix_2HPD.to(k_BHLD.dtype).unsqueeze(1).expand(-1, len(k_BHLD), -1, -1, -1)
    if bias is not None:
        bias = F.pad(bias, (prefix_2HPD.shape[2], 0), value=float(bias.dtype == torch.bool))
    return torch.cat([before_k, k_BHLD], 2), torch.cat([before_v, v_BHLD], 2), bias


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_groups: list[Group] | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls. ``query`` etc. are [1, H, T, D]; returns [1, T, H, D].

    ``packed_groups`` travels through the model's keyword arguments; without it a row is attended as one (plain use).
    ``prefix_2HPD`` among them comes from the layer itself (``methods.prefix_tuning``).
    """
    prefix = given.get("prefix_2HPD")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if packed_groups is None:
        key, value, attention_mask = _behind(prefix, key, value, attention_mask)
        out = F.scaled_dot_product_attention(query, key, value, attention_mask, dropout, scale=scale)
        return out.transpose(1, 2), None
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    if prefix is None and not dropout and varlen.takes(packed_groups, q, k, v):
        return varlen.attend(q, k, v, packed_groups, scale, varlen.ALL)[None], None
    long = [group for group in packed_groups if q.device.type != "cpu" or group.longest >= FUSED_FROM_TOKENS]
    others = packed_groups[: len(packed_groups) - len(long)]
    outs = []
    if others:
        stop = others[-1].stop if long else len(q)
        parts = (q[:stop], k[:stop], v[:stop])
        outs = [_PackedAttention.apply(*parts, prefix, scale, others, dropout)]  # type: ignore[no-untyped-call]
        if not long:
            return outs[0][None], None
    outs += [_fused(q, k, v, prefix, scale, group, dropout) for group in long]
    filling = q.new_zeros(len(q) - packed_groups[-1].stop, *q.shape[1:])
    return torch.cat([*outs, filling])[None], None


def _no_mask(*_: Any, **__: Any) -> None:
    """Boundaries come with the groups, so no mask is built."""


ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _no_mask)
