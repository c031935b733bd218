"""Pieces of decoder layers with hand-written gradients: fewer passes over memory than autograd's own.

Each computes what the modules of transformers and PEFT compute, to rounding. Knows no architecture. Shapes: T tokens, H
heads, D head width, K inputs, N outputs, r rank.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class _RmsNorm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * w (Zhang and Sennrich 2019), or * (1 + w) and cast at the end, as Gemma's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, plus_one: bool) -> Tensor:
        wide = x.float()
        inverse = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        wide = wide * inverse if wide is x else wide.mul_(inverse)
        ctx.save_for_backward(x, weight, inverse)
        ctx.plus_one = plus_one
        return wide.mul_(weight.float() + 1.0).to(x.dtype) if plus_one else wide.to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        normed = x.float() * inverse
        d_weight = None
        if ctx.needs_input_grad[1]:
            d_weight = (grads[0].float() * normed).flatten(0, -2).sum(0).to(weight.dtype)
        if not ctx.needs_input_grad[0]:
            return None, d_weight, None, None
        grad = grads[0].float() * (weight.float() + 1.0) if ctx.plus_one else (grads[0] * weight).float()
        along = (grad * normed).mean(-1, keepdim=True)
        return grad.sub_(normed.mul_(along)).mul_(inverse).to(x.dtype), d_weight, None, None


def rms_norm(x: Tensor, weight: Tensor, eps: float, plus_one: bool = False) -> Tensor:
    """The norm of the last dimension; computed in fp32, given back in the type of ``x``."""
    out: Tensor = _RmsNorm.apply(x, weight, eps, plus_one)  # type: ignore[no-untyped-call]
    return out


def _turned(x_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor, sign: float) -> Tensor:
    half = x_THD.shape[-1] // 2
    cos, sin = cos_TD[:, None], sin_TD[:, None, :half]
    out = x_THD * cos
    out[..., :half].addcmul_(x_THD[..., half:], sin, value=-sign)
    out[..., half:].addcmul_(x_THD[..., :half], sin, value=sign)
    return out


class _Rotary(torch.autograd.Function):
    """Pairs (x_i, x_{i + D/2}) turned by an angle a position (RoPE, Su et al. 2021); the gradient turns back."""

    @staticmethod
    def forward(ctx: Any, x_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
        ctx.save_for_backward(cos_TD, sin_TD)
        return _turned(x_THD, cos_TD, sin_TD, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos_TD, sin_TD = ctx.saved_tensors
        return _turned(grads[0], cos_TD, sin_TD, -1.0), None, None


def rotary(x_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """Queries or keys with their positions in them; both halves of ``cos_TD`` and ``sin_TD`` are alike."""
    out: Tensor = _Rotary.apply(x_THD, cos_TD, sin_TD)  # type: ignore[no-untyped-call]
    return out


class Held(Protocol):
    """A frozen weight that is held in fewer bits and made whole when a product needs it."""

    def whole(self, dtype: torch.dtype) -> Tensor:
        """[N, K]."""
        ...


def _whole(weight: Tensor | Held, dtype: torch.dtype) -> Tensor:
    return weight if isinstance(weight, Tensor) else weight.whole(dtype)


class _FrozenLinear(torch.autograd.Function):
    """W x + b with W frozen and held in fewer bits: what is kept for the backward pass is not W but what it is of."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, held: Held, bias_N: Tensor | None) -> Tensor:
        ctx.held = held
        return F.linear(x, held.whole(x.dtype), None if bias_N is None else bias_N.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        d_x = grad @ ctx.held.whole(grad.dtype) if ctx.needs_input_grad[0] else None
        return d_x, None, grad.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None


def frozen_linear(x: Tensor, held: Held, bias_N: Tensor | None) -> Tensor:
    """[..., K] to [..., N], W made whole in both passes and dropped after each; W gets no gradient."""
    out: Tensor = _FrozenLinear.apply(x, held, bias_N)  # type: ignore[no-untyped-call]
    return out


class _LoraLinear(torch.autograd.Function):
    """W x + b + s B A x (Hu et al. 2021) with W and b frozen.

    The small product comes first: the large one is added to it before its sums are rounded. In bf16 the other order
    rounds W x and loses more than half of an update as small as the first steps make it.
    """

    @staticmethod
    def forward(
        ctx: Any, x_TK: Tensor, weight: Tensor | Held, bias_N: Tensor | None, a_rK: Tensor, b_Nr: Tensor, scale: float
    ) -> Tensor:
        low_Tr = (x_TK @ a_rK.T).mul_(scale)
        out = low_Tr @ b_Nr.T if bias_N is None else torch.addmm(bias_N, low_Tr, b_Nr.T)
        out.addmm_(x_TK, _whole(weight, x_TK.dtype).T)
        of_tensor = isinstance(weight, Tensor)
        ctx.held = None if of_tensor else weight
        ctx.save_for_backward(x_TK, weight if of_tensor else None, a_rK, b_Nr, low_Tr)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_TN,) = grads
        x_TK, weight_NK, a_rK, b_Nr, low_Tr = ctx.saved_tensors
        grad_low_Tr = (grad_TN @ b_Nr).mul_(ctx.scale)
        d_b = grad_TN.T @ low_Tr
        d_a = grad_low_Tr.T @ x_TK
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = grad_low_Tr @ a_rK
            d_x.addmm_(grad_TN, weight_NK if ctx.held is None else ctx.held.whole(grad_TN.dtype))
        return d_x, None, None, d_a, d_b, None


def lora_linear(
    x_TK: Tensor, weight: Tensor | Held, bias_N: Tensor | None, a_rK: Tensor, b_Nr: Tensor, scale: float
) -> Tensor:
    """[T, N]: a frozen linear layer with its low-rank update. ``weight`` [N, K] and ``bias_N`` get no gradient."""
    out: Tensor = _LoraLinear.apply(x_TK, weight, bias_N, a_rK, b_Nr, scale)  # type: ignore[no-untyped-call]
    return out
