"""Attention on a CPU, one group of rows: the fused kernel and products written out, in bf16 and fp32, by length.

    scripts/bench attention [--threads 2] [--causal]

Milliseconds (medians) of a forward pass and of a forward and backward pass; 12 heads of width 32, as in MiniLM. It is
where ``engine.attention`` has its two limits from.

With --causal: ``engine.causal_attention`` on rows laid end to end, beside PyTorch's scaled_dot_product_attention on the
same rows padded to the longest, and on one row after the other; 9 query and 3 key heads of width 64, as in SmolLM2.
Outputs and gradients are compared with those of single rows in fp32 first; exit code 1 where they differ.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feinschliff.engine.batching import group_by_length
from feinschliff.engine.causal_attention import causal_attention

Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ROWS_OF_LENGTH = {16: 32, 48: 16, 64: 12, 100: 8, 200: 4, 256: 8, 512: 4}
CausalAttention = Callable[[list[Tensor], list[int]], Tensor]
HEADS, KEY_HEADS, WIDTH = 9, 3, 64
CAUSAL_ROWS = {
    "8 of 200": [200] * 8,
    "8 of 60 to 400": [60, 90, 120, 150, 190, 240, 300, 400],
    "4 of 512": [512] * 4,
    "2 of 1,024": [1024] * 2,
    "1 of 2,048": [2048],
    "1 of 4,096": [4096],
}
LARGEST_DIFFERENCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Of outputs and of each gradient: the norm of the difference as a share of their norm."""


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


def packed(given: list[Tensor], lengths: list[int]) -> Tensor:
    """Ours: [T, H, D] of rows end to end; ``given`` are queries, keys and values [1, H, T, D]."""
    return causal_attention(nn.Identity(), *given, None, packed_groups=group_by_length(lengths))[0][0]


def padded(given: list[Tensor], lengths: list[int]) -> Tensor:
    """The same of rows padded at their ends, where no real token sees the padding."""
    real = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    blocks = []
    for x in given:
        block = x.new_zeros(*real.shape, *x[0].transpose(0, 1).shape[1:])
        blocks.append(block.masked_scatter(real[:, :, None, None], x[0].transpose(0, 1)).transpose(1, 2))
    return F.scaled_dot_product_attention(*blocks, is_causal=True, enable_gqa=True).transpose(1, 2)[real]


def one_by_one(given: list[Tensor], lengths: list[int]) -> Tensor:
    """The same of one row after the other."""
    rows = zip(*(x.split(lengths, 2) for x in given), strict=True)
    outs = [F.scaled_dot_product_attention(*row, is_causal=True, enable_gqa=True) for row in rows]
    return torch.cat(outs, 2)[0].transpose(0, 1)


CAUSAL: dict[str, CausalAttention] = {"packed (ours)": packed, "padded": padded, "one by one": one_by_one}


def causal_inputs(lengths: list[int], dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """Queries, keys, values [1, H, T, D], and a gradient of the outputs [T, H, D]."""
    torch.manual_seed(0)
    shapes = [(1, heads, sum(lengths), WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    given = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
    return given, torch.randn(sum(lengths), HEADS, WIDTH).to(dtype)


def difference(function: CausalAttention, lengths: list[int], dtype: torch.dtype) -> float:
    """To outputs and gradients of single rows in fp32: the largest of the four, see ``LARGEST_DIFFERENCE``."""
    given, gradient = causal_inputs(lengths, dtype)
    exact = [x.detach().float().requires_grad_() for x in given]
    out, expected = function(given, lengths), one_by_one(exact, lengths)
    out.backward(gradient)
    expected.backward(gradient.float())
    pairs = [(out.detach(), expected.detach()), *((x.grad, y.grad) for x, y in zip(given, exact, strict=True))]
    return max(float((x.float() - y).norm() / y.norm()) for x, y in pairs if x is not None and y is not None)


def timed_causal(function: CausalAttention, lengths: list[int], dtype: torch.dtype) -> list[float]:
    """Forward, and forward with backward."""
    given, gradient = causal_inputs(lengths, dtype)

    def both() -> None:
        function(given, lengths).backward(gradient)

    with torch.no_grad():
        forward = milliseconds(partial(function, given, lengths))
    return [forward, milliseconds(both)]


def compare_causal() -> int:
    """A line for each set of rows, type and way; 1 where one of them gives other numbers."""
    print(f"{'rows':>15} {'type':>8} {'way':>14} {'forward':>9} {'both':>9} {'differs by':>11}")
    wrong = 0
    for name, lengths in CAUSAL_ROWS.items():
        for dtype in (torch.bfloat16, torch.float32):
            for way, function in CAUSAL.items():
                off = difference(function, lengths, dtype)
                wrong += not off <= LARGEST_DIFFERENCE[dtype]
                cells = timed_causal(function, lengths, dtype)
                print("{:>15} {:>8} {:>14} {:9.2f} {:9.2f} {:11.1e}".format(name, str(dtype)[6:], way, *cells, off))
    if wrong:
        print(f"{wrong} of them differ by more than rounding", file=sys.stderr)
    return 1 if wrong else 0


def main() -> int:
    """A line a length and a type."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--causal", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.causal:
        return compare_causal()
    print(f"{'length':>6} {'type':>8} {'fused: forward':>15} {'both':>9} {'written out: forward':>21} {'both':>9}")
    for length in ROWS_OF_LENGTH:
        for dtype in (torch.bfloat16, torch.float32):
            cells = timed(length, dtype)
            print("{:6} {:>8} {:15.2f} {:9.2f} {:21.2f} {:9.2f}".format(length, str(dtype)[6:], *cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
