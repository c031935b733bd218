"""bitsandbytes' kernel that makes 4-bit weights whole, where it is installed and gives the same values.

The extra is ``qlora``. One pass over memory instead of several. It is tried on a few blocks on each kind of device
before it is used there: a library that does not load, or that rounds in its own way, is left alone and its reason said.
Knows no layer.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

Unpack = Callable[[Tensor, Tensor, int, tuple[int, int], torch.dtype], Tensor]
"""Codes [P], scales [S], weights a scale, shape (N, K) and type to the matrix [N, K]."""
PROBED = (9, 96)
"""Rows and columns of the matrix that is tried: blocks of several sizes, over the ends of rows, the last not full."""
DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Kernel:
    """What makes 4-bit weights whole on a kind of device."""

    unpack: Unpack | None
    """None: plain torch."""
    sentence: str
    """Which, and why."""


@cache
def kernel(device_type: str, plain: Unpack) -> Kernel:
    """The library's where it can be used on such a device and gives what ``plain`` gives, to the bit; else none."""
    if importlib.util.find_spec("bitsandbytes") is None:
        return Kernel(None, "4-bit weights are made whole by plain torch (faster: pip install 'feinschliff[qlora]')")
    try:
        same = all(_agrees(torch.device(device_type), plain, dtype) for dtype in DTYPES)
    except (ImportError, OSError, RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
        said = next(iter(str(error).strip().splitlines()), "no reason given")
        reason = f"bitsandbytes does not work here ({type(error).__name__}: {said})"
        return Kernel(None, f"4-bit weights are made whole by plain torch: {reason}")
    if not same:
        return Kernel(None, "4-bit weights are made whole by plain torch: bitsandbytes gives other values here")
    return Kernel(_unpack, "4-bit weights are made whole by bitsandbytes' kernel, which gives the same values")


def _agrees(device: torch.device, plain: Unpack, dtype: torch.dtype) -> bool:
    count = -(-PROBED[0] * PROBED[1] // 64)
    codes = torch.arange(32 * count, dtype=torch.int32).mul_(37).remainder_(256).to(torch.uint8).to(device)
    scales = torch.logspace(-3, 2, count, device=device)
    given: Any = (codes, scales, 64, PROBED, dtype)
    return torch.equal(_unpack(*given), plain(*given))


def _unpack(codes: Tensor, scales: Tensor, block: int, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    _load()
    # As rows of one block each: on CPUs the library takes each row to begin a block (0.50.2).
    blocks = (len(scales), block)
    whole: Tensor = torch.ops.bitsandbytes.dequantize_4bit.default(codes[:, None], scales, block, "nf4", blocks, dtype)
    return whole.view(-1)[: shape[0] * shape[1]].view(shape)


@cache
def _load() -> None:
    """Import the library, which registers its operators with torch.

    Where the package ``kernels`` is there too, the import would fetch compiled code from the Hub for a product that is
    not used here, and where it is not, warn: it is hidden meanwhile, and the warning is not shown.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    hidden = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("bitsandbytes")
    finally:
        sys.modules.pop("kernels")
        if hidden is not None:
            sys.modules["kernels"] = hidden
