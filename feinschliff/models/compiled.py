"""Element-wise pieces of decoder layers by torch's compiler: one pass over memory where its operations take several.

The norm and the gated product, forward and backward, for any number of tokens. For CPUs: a C++ compiler is needed, and
the first use takes some seconds. They round a little differently from ``fused``. Knows no layer.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

COMPILERS = ("g++", "clang++")


def why_not(device: torch.device) -> str | None:
    """Why nothing can be compiled for a device; None: it can be tried."""
    if device.type != "cpu":
        return "that is written for CPUs only"
    return None if any(map(shutil.which, COMPILERS)) else f"there is no C++ compiler ({' or '.join(COMPILERS)})"


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * w (Zhang and Sennrich 2019) of the last dimension, in the type of ``x``."""
    out: Tensor = _Norm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return out


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up (SwiGLU, Shazeer 2020)."""
    out: Tensor = _Gated.apply(gate, up)  # type: ignore[no-untyped-call]
    return out


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    import torch._inductor.config as inductor

    inductor.compile_threads = 1  # in this process: others would outlive a Ctrl-C
    return torch.compile(function, dynamic=True)


def _normed(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    wide = x.float()
    inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * inverse).to(x.dtype) * weight, inverse


def _normed_gradient(grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    normed, grad = x.float() * inverse, (grad * weight).float()
    along = (grad * normed).mean(-1, keepdim=True)
    return ((grad - normed * along) * inverse).to(x.dtype)


def _gated_gradient(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    wide, grad = gate.float(), grad.float()
    share = torch.sigmoid(wide)
    opened = wide * share
    d_gate = grad * up.float() * (share + opened * (1.0 - share))
    return d_gate.to(gate.dtype), (grad * opened).to(up.dtype)


def _product(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        out, inverse = _compiled(_normed)(x, weight, eps)
        ctx.save_for_backward(x, weight, inverse)
        found: Tensor = out
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        d_x = d_weight = None
        if ctx.needs_input_grad[0]:
            d_x = _compiled(_normed_gradient)(grads[0].contiguous(), x, weight, inverse)
        if ctx.needs_input_grad[1]:
            d_weight = (grads[0].float() * (x.float() * inverse)).flatten(0, -2).sum(0).to(weight.dtype)
        return d_x, d_weight, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        found: Tensor = _compiled(_product)(gate, up)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found: tuple[Tensor, Tensor] = _compiled(_gated_gradient)(grads[0].contiguous(), *ctx.saved_tensors)
        return found
