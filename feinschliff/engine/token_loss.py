"""Cross-entropy of the next token, a few hundred tokens at a time: the vocabulary never sets the peak. Knows no model.

The loss of states h against a projection W is a sum over tokens, so its gradients by h and W can be summed in the
forward pass, chunk by chunk; logits live for one chunk. The backward pass only scales them. (The idea stands in Wijmans
et al. 2024, "Cut Your Losses", and in Liger Kernel, Hsu et al. 2024; this is neither's code.)

Shapes: n tokens that carry loss, d hidden width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 16_777_216
"""Logits computed at once: 64 MiB in fp32, 341 tokens of a vocabulary of 49,152."""


def chunk_tokens(vocabulary: int) -> int:
    """How many tokens' logits are computed at once."""
    return max(16, CHUNK_ELEMENTS // vocabulary)


class _TokenLoss(torch.autograd.Function):
    """Sum over tokens of weight * (log sum exp(W h) - (W h)[target])."""

    @staticmethod
    def forward(
        ctx: Any,
        states_nd: Tensor,
        weight_Vd: Tensor,
        targets_n: Tensor,
        weights_n: Tensor | None,
        softcap: float | None,
    ) -> Tensor:
        of_states, of_weight = ctx.needs_input_grad[:2]
        total = states_nd.new_zeros((), dtype=torch.float64)
        d_states = torch.empty_like(states_nd) if of_states else None
        d_weight = torch.zeros_like(weight_Vd, dtype=torch.float32) if of_weight else None
        size = chunk_tokens(len(weight_Vd))
        for begin in range(0, len(states_nd), size):
            part = slice(begin, begin + size)
            states, targets = states_nd[part], targets_n[part]
            logits = _logits(states, weight_Vd, softcap)
            normaliser = torch.logsumexp(logits, 1)
            losses = normaliser - logits.gather(1, targets[:, None])[:, 0]
            given = None if weights_n is None else weights_n[part]
            total += (losses if given is None else losses * given).sum(dtype=torch.float64)
            if not (of_states or of_weight):
                continue
            grad = _gradient(logits, normaliser, targets, given, softcap).to(states.dtype)
            if d_states is not None:
                torch.mm(grad, weight_Vd, out=d_states[part])
            if d_weight is not None:
                d_weight += grad.T @ states
        ctx.gradients, ctx.dtype = (d_states, d_weight), weight_Vd.dtype
        return total.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_states, d_weight = ctx.gradients
        del ctx.gradients
        scale = grads[0]
        d_states = None if d_states is None else d_states.mul_(scale)
        d_weight = None if d_weight is None else d_weight.mul_(scale).to(ctx.dtype)
        return d_states, d_weight, None, None, None


def _logits(states: Tensor, weight: Tensor, softcap: float | None) -> Tensor:
    """[n, V], fp32."""
    logits = (states @ weight.T).float()
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def _gradient(
    logits: Tensor, normaliser: Tensor, targets: Tensor, weights: Tensor | None, softcap: float | None
) -> Tensor:
    """Of the summed loss by the logits, written over them; by what was before the cap where there is one."""
    slope = None if softcap is None else 1.0 - (logits / softcap).square()
    grad = logits.sub_(normaliser[:, None]).exp_()
    grad[torch.arange(len(targets), device=targets.device), targets] -= 1.0
    if weights is not None:
        grad.mul_(weights[:, None])
    return grad if slope is None else grad.mul_(slope)


def token_loss(
    states_nd: Tensor,
    weight_Vd: Tensor,
    targets_n: Tensor,
    weights_n: Tensor | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Summed cross-entropy of the projections of ``states_nd`` against ``targets_n``; a scalar, fp32.

    Args:
        weights_n: by which each token's loss is multiplied.
        softcap: logits are ``softcap * tanh(logits / softcap)`` (Gemma 2).
    """
    if not torch.is_grad_enabled():  # else the gradients would be summed up for nobody
        states_nd, weight_Vd = states_nd.detach(), weight_Vd.detach()
    found: Tensor = _TokenLoss.apply(states_nd, weight_Vd, targets_n, weights_n, softcap)  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What is kept of tokens that carry loss, one each."""

    losses_n: Tensor
    correct_n: Tensor
    """Whether the token was the likeliest, bool."""


@torch.no_grad()
def token_scores(states_nd: Tensor, weight_Vd: Tensor, targets_n: Tensor, softcap: float | None = None) -> TokenScores:
    """Loss of each token and whether it was the likeliest one, chunk by chunk."""
    losses, correct, size = [], [], chunk_tokens(len(weight_Vd))
    for begin in range(0, len(states_nd), size):
        targets = targets_n[begin : begin + size]
        logits = _logits(states_nd[begin : begin + size], weight_Vd, softcap)
        losses.append(torch.logsumexp(logits, 1) - logits.gather(1, targets[:, None])[:, 0])
        correct.append(logits.argmax(1) == targets)
    if not losses:
        return TokenScores(states_nd.new_zeros(0, dtype=torch.float32), states_nd.new_zeros(0, dtype=torch.bool))
    return TokenScores(torch.cat(losses), torch.cat(correct))
