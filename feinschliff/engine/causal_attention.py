"""Causal attention over rows that lie end to end, for decoders whose attention transformers lets be plugged in.

Each token sees those before it in its own row, or the last ``sliding_window`` of them. Rows come sorted by length and
are padded inside small groups only. On CPUs queries are taken in blocks, so that keys behind a block are never
computed, and forward and backward are written out: for rows of 200 to 2,000 tokens two to three times as fast as the
fused kernel, whose backward in bf16 is slow (``benchmarks/attention.py --causal``). The softmax of rows up to
``KEPT_BELOW_TOKENS`` is kept for the backward pass; that of longer rows is computed again, block by block, so that
memory grows with the tokens of a row and not with their square. On an accelerator rows are computed by the kernel for
rows laid end to end where it knows them (``engine.varlen``), else by torch's own attention in padded groups.

Several query heads may share a key head (grouped queries, Ainslie et al. 2023); no key is copied for that.
Knows no architecture. Shapes: N key heads of all rows of a group, G query heads a key head, L longest row, b queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from feinschliff.engine import varlen
from feinschliff.engine.attention import _empty, _gather, _no_mask, _scaled, _spread
from feinschliff.engine.batching import Group
from feinschliff.errors import ModelError

NAME = "feinschliff_causal"
BLOCK_TOKENS = 64
"""Queries computed at once: smaller blocks skip more of what causality hides, larger ones make fewer calls."""
KEPT_BELOW_TOKENS = 512


INERT = frozenset({"dropout", "position_ids", "cache_position", "use_cache", "past_key_values", "output_attentions"})
"""Keyword arguments that models hand on and that change nothing here; weights of attention are never dropped out."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How scores become weights."""

    scale: float
    window: int
    softcap: float | None


def _hidden(queries: int, keys: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[b, keys] to be added to the scores of the last ``queries`` of ``keys`` tokens: 0 where seen, else -inf."""
    places = torch.arange(keys, device=device)
    distance = places[keys - queries :, None] - places[None]
    seen = (distance >= 0) & (distance < window)
    return torch.zeros(queries, keys, dtype=dtype, device=device).masked_fill_(~seen, float("-inf"))


_hidden_of_block = lru_cache(maxsize=256)(_hidden)


def _weights(q_NbD: Tensor, k_NKD: Tensor, heads: int, form: _Form) -> tuple[Tensor, Tensor | None]:
    """Softmax of the scores [N, G b, K] of the last queries of K tokens, and the slope of the scores' cap."""
    scores, slope = _scaled(q_NbD, k_NKD.transpose(1, 2), form.scale), None
    if form.softcap is not None:
        scores = scores.div_(form.softcap).tanh_()
        slope = 1.0 - scores.square()
        scores = scores.mul_(form.softcap)
    queries, keys = q_NbD.shape[1] // heads, k_NKD.shape[1]
    width = keys if form.window < keys else queries  # without a window all but the last keys are seen by all
    part = scores.view(len(scores), heads, queries, keys)[..., keys - width :]
    part.add_(_hidden_of_block(queries, width, min(form.window, width), scores.dtype, scores.device))
    return torch.softmax(scores, -1), slope


def _blocks(longest: int, window: int) -> list[tuple[int, int, int]]:
    """Queries ``begin`` to ``end`` and the first key they see."""
    return [
        (max(0, begin - window + 1), begin, min(longest, begin + BLOCK_TOKENS))
        for begin in range(0, longest, BLOCK_TOKENS)
    ]


class _CausalAttention(torch.autograd.Function):
    """softmax(Q K^T * scale) V within each row and up to each token, with its gradient, group by group.

    Where scores are capped (``c * tanh(score / c)``, Gemma 2) they are computed again in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, form: _Form, groups: list[Group]) -> Tensor:
        heads = q_THD.shape[1] // k_THD.shape[1]
        out, kept = _empty(v_THD.new_empty(*q_THD.shape[:2], v_THD.shape[2]), groups), []
        for group in groups:
            q, k, v = (_spread(x, group, x.dtype) for x in (q_THD, k_THD, v_THD))
            q, keeps = q.view(len(k), heads, group.longest, -1), group.longest <= KEPT_BELOW_TOKENS
            written, softmaxes = v.new_empty(*q.shape[:3], v.shape[2]), []
            for first, begin, end in _blocks(group.longest, form.window):
                queries = q[:, :, begin:end].reshape(len(k), -1, q.shape[-1])
                weights, slope = _weights(queries, k[:, first:end], heads, form)
                written[:, :, begin:end] = torch.bmm(weights, v[:, first:end]).view(len(k), heads, end - begin, -1)
                softmaxes.append(weights if keeps and slope is None else None)
            _gather(written.view(-1, group.longest, v.shape[2]), group, out)
            kept += [q, k, v, *softmaxes]
        ctx.save_for_backward(*kept)  # not held by ctx itself: gradient checkpointing drops what autograd knows of
        ctx.groups, ctx.form = groups, form
        ctx.shapes = (q_THD.shape, k_THD.shape, v_THD.shape)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_THD,) = grads
        dq_THD, dk_THD, dv_THD = (_empty(grad_THD.new_empty(shape), ctx.groups) for shape in ctx.shapes)
        kept = iter(ctx.saved_tensors)
        for group in ctx.groups:
            blocks, (q, k, v) = _blocks(group.longest, ctx.form.window), islice(kept, 3)
            grad = _spread(grad_THD, group, v.dtype).view(*q.shape[:3], v.shape[2])
            dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
            for (first, begin, end), weights in zip(blocks, islice(kept, len(blocks)), strict=True):
                queries, grads_out = (x[:, :, begin:end].reshape(len(k), -1, x.shape[-1]) for x in (q, grad))
                seen, slope = slice(first, end), None
                if weights is None:
                    weights, slope = _weights(queries, k[:, seen], q.shape[1], ctx.form)
                dv[:, seen].baddbmm_(weights.transpose(1, 2), grads_out)
                grad_weights = torch.bmm(grads_out, v[:, seen].transpose(1, 2))
                grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
                if slope is not None:
                    grad_scores = grad_scores.mul_(slope)
                moved = _scaled(grad_scores, k[:, seen], ctx.form.scale)
                dq[:, :, begin:end] = moved.view(*q.shape[:2], end - begin, -1)
                dk[:, seen].baddbmm_(grad_scores.transpose(1, 2), queries, alpha=ctx.form.scale)
            _gather(dq.view(-1, *q.shape[2:]), group, dq_THD)
            _gather(dk, group, dk_THD)
            _gather(dv, group, dv_THD)
        return dq_THD, dk_THD, dv_THD, None, None


def _fused(q: Tensor, k: Tensor, v: Tensor, form: _Form, group: Group) -> Tensor:
    """One group through PyTorch's fused kernel: [t, H, D] of the group's tokens."""
    heads = q.shape[1]
    q, k, v = (_spread(x, group, x.dtype).view(group.rows, x.shape[1], group.longest, -1) for x in (q, k, v))
    mask = None
    if form.window < group.longest:
        mask = _hidden(group.longest, group.longest, form.window, q.dtype, q.device)
    if form.softcap is not None:
        out = _capped(q, k, v, form, form.softcap)
    else:
        out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, scale=form.scale, enable_gqa=True)
    flat = out.transpose(1, 2).reshape(group.rows * group.longest, heads, -1)
    return flat if group.index is None else flat.index_select(0, group.index)


def _capped(q_BHLD: Tensor, k_BKLD: Tensor, v_BKLD: Tensor, form: _Form, cap: float) -> Tensor:
    """Scores written out, where they are capped: no fused kernel knows that."""
    rows, num_heads, longest, width = q_BHLD.shape
    q = q_BHLD.view(rows, k_BKLD.shape[1], -1, longest, width)
    scores = (q @ k_BKLD[:, :, None].transpose(-1, -2)).float() * form.scale
    scores = torch.tanh(scores / cap) * cap
    scores = scores + _hidden(longest, longest, form.window, scores.dtype, scores.device)
    out = torch.softmax(scores, -1).to(v_BKLD.dtype) @ v_BKLD[:, :, None]
    return out.view(rows, num_heads, longest, -1)


def causal_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    packed_groups: list[Group] | None = None,
    sliding_window: int | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls. ``query`` is [1, H, T, D], ``key`` and ``value`` may have fewer heads.

    Returns [1, T, H, D]. ``packed_groups`` travels through the model's keyword arguments; without it all tokens are one
    row. ``softcap`` comes from models that cap their scores.

    Raises:
        ModelError: the model's attention takes something that is not known here, such as sinks.
    """
    softcap: float | None = given.pop("softcap", None)
    _refuse_unknown(module, given)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    groups = packed_groups or [Group(0, len(q), 1, len(q), None, None)]
    form = _Form(scale, sliding_window or len(q) + 1, softcap)
    if q.device.type == "cpu":
        out: Tensor = _CausalAttention.apply(q, k, v, form, groups)  # type: ignore[no-untyped-call]
        return out[None], None
    if softcap is None and varlen.takes(groups, q, k, v):
        return varlen.attend(q, k, v, groups, scale, varlen.causal_window(form.window, groups.longest))[None], None
    return padded(q, k, v, form, groups)[None], None


def padded(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, form: _Form, groups: list[Group]) -> Tensor:
    """[T, H, D] by torch's own attention, group by group: right on every device, with autograd's gradients."""
    outs = [_fused(q_THD, k_THD, v_THD, form, group) for group in groups]
    filling = outs[0].new_zeros(len(q_THD) - groups[-1].stop, *outs[0].shape[1:])
    return torch.cat([*outs, filling])


def _refuse_unknown(module: nn.Module, given: dict[str, Any]) -> None:
    known = {name for name in given if name in INERT or given[name] is None}
    unknown = [name for name, value in given.items() if name not in known and (name, value) != ("is_causal", True)]
    if unknown:
        raise ModelError(
            f"the attention of {type(module).__name__} takes {', '.join(unknown)}",
            where="model.source",
            why="rows laid end to end are computed by an attention of our own, which does not know this",
            remedy="choose another model",
        )


ALL_ATTENTION_FUNCTIONS.register(NAME, causal_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _no_mask)
