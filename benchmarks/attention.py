"""Attention on a CPU, one group of rows: the fused kernel and products written out, in bf16 and fp32, by length.

    scripts/bench attention [--threads 2]

Milliseconds (medians) of a forward pass and of a forward and backward pass; 12 heads of width 32, as in MiniLM. It is
where ``engine.attention`` has its two limits from.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ROWS_OF_LENGTH = {16: 32, 48: 16, 64: 12, 100: 8, 200: 4, 256: 8, 512: 4}


def written_out(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Products and softmax one by one."""
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias, -1) @ v


def fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """PyTorch's kernel."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def milliseconds(work: Callable[[], object], times: int = 9) -> float:
    """Median of some calls after one that warms up."""
    work()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(found)


def timed(length: int, dtype: torch.dtype) -> list[float]:
    """Fused forward, fused both, written out forward, written out both."""
    rows = ROWS_OF_LENGTH[length]
    q, k, v = (torch.randn(rows, 12, length, 32, dtype=dtype, requires_grad=True) for _ in range(3))
    bias, gradient = torch.zeros(rows, 1, 1, length, dtype=dtype), torch.randn(rows, 12, length, 32, dtype=dtype)
    found = []
    for function in (fused, written_out):
        with torch.no_grad():
            found.append(milliseconds(partial(function, q, k, v, bias)))

        def both(function: Attention = function) -> None:
            function(q, k, v, bias).backward(gradient)

        found.append(milliseconds(both))
    return found


def main() -> None:
    """A line a length and a type."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    print(f"{'length':>6} {'type':>8} {'fused: forward':>15} {'both':>9} {'written out: forward':>21} {'both':>9}")
    for length in ROWS_OF_LENGTH:
        for dtype in (torch.bfloat16, torch.float32):
            cells = timed(length, dtype)
            print("{:6} {:>8} {:15.2f} {:9.2f} {:21.2f} {:9.2f}".format(length, str(dtype)[6:], *cells), flush=True)


if __name__ == "__main__":
    main()
