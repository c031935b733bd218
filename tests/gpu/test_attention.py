"""Attention on a GPU against softmax attention on one row after the other, on the CPU in fp32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from feinschliff.engine import attention, causal_attention, varlen
from feinschliff.engine.batching import TokenTable, group_by_length
from feinschliff.engine.devices import on
from tests.engine.test_causal_attention import row_by_row

DEVICE = torch.device("cuda")
LENGTHS = [1, 2, 3, 9, 40, 60, 61, 130, 200]
TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 0.03}


def inputs(heads: tuple[int, int], width: int, num_tokens: int) -> list[Tensor]:
    """Queries, keys, values [1, H, T, D]."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(1, count, num_tokens, width) for count in (heads[0], heads[1], heads[1])]
    return [torch.randn(shape, generator=generator).bfloat16().float() for shape in shapes]


def groups_there() -> tuple[Any, int]:
    """Of a batch of rows of ``LENGTHS``, and how many tokens it has with its filling."""
    table = TokenTable(np.zeros(sum(LENGTHS), dtype=np.int32), np.cumsum([0, *LENGTHS]))
    batch = on(table.collate(np.arange(len(LENGTHS))), DEVICE)
    return batch.groups, batch.size


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("options", [{}, {"sliding_window": 7}, {"sliding_window": 64}, {"softcap": 5.0}], ids=str)
@pytest.mark.parametrize(("heads", "width"), [((9, 3), 64), ((4, 4), 128), ((4, 1), 20)], ids=str)
def test_causal_rows(dtype: torch.dtype, options: dict[str, Any], heads: tuple[int, int], width: int) -> None:
    groups, size = groups_there()
    given, real = inputs(heads, width, size), sum(LENGTHS)
    there = [x.to(DEVICE, dtype, copy=True).requires_grad_() for x in given]
    known = width % varlen.MULTIPLE == 0 and dtype == torch.bfloat16
    assert varlen.takes(groups, *(x[0].transpose(0, 1) for x in there)) is known
    out, _ = causal_attention.causal_attention(nn.Identity(), *there, None, packed_groups=groups, **options)
    own = [x[:, :, :real].detach().clone().requires_grad_() for x in given]
    scale, window, cap = width**-0.5, options.get("sliding_window"), options.get("softcap")
    expected = row_by_row(own, LENGTHS, window, cap, scale)
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(out[:, :real].float().cpu(), expected, rtol=0.0, atol=tolerance)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).bfloat16().float()
    out[:, :real].backward(upstream.to(DEVICE, dtype))
    expected.backward(upstream)
    for mine, other in zip(there, own, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        gap = (mine.grad[:, :, :real].float().cpu() - other.grad).norm() / other.grad.norm()
        assert float(gap) < tolerance


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_rows_whose_tokens_see_each_other(dtype: torch.dtype) -> None:
    groups, size = groups_there()
    given, real = inputs((4, 4), 32, size), sum(LENGTHS)
    there = [x.to(DEVICE, dtype) for x in given]
    out, _ = attention.packed_attention(nn.Identity(), *there, None, packed_groups=groups)
    own = [x[:, :, :real] for x in given]
    expected, _ = attention.packed_attention(nn.Identity(), *own, None, packed_groups=group_by_length(LENGTHS))
    torch.testing.assert_close(out[:, :real].float().cpu(), expected, rtol=0.0, atol=TOLERANCES[dtype])
