"""Sums over processes in pieces of a bounded size."""

from __future__ import annotations

import pytest
import torch
from torch import distributed as dist

from feinschliff.engine import ranks
from feinschliff.engine.ranks import Ranks


@pytest.mark.parametrize(("bucket", "sent"), [(100, [24]), (10, [10, 12, 2]), (1, [4, 6, 12, 2])])
def test_sums_are_sent_in_buckets(bucket: int, sent: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def as_if_of_two(flat: torch.Tensor) -> None:
        sizes.append(flat.numel())
        flat.mul_(2.0)

    monkeypatch.setattr(dist, "all_reduce", as_if_of_two)
    monkeypatch.setattr(ranks, "BUCKET_NUMBERS", bucket)
    tensors = [
        torch.arange(float(n)).reshape(shape) for n, shape in ((4, (2, 2)), (6, (6,)), (12, (3, 4)), (2, (2, 1)))
    ]
    expected = [2.0 * tensor for tensor in tensors]
    Ranks(0, 2).add(tensors)
    assert sizes == sent
    assert all(torch.equal(found, wanted) for found, wanted in zip(tensors, expected, strict=True))
