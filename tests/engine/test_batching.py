"""Packing, groups, micro batches and the order of an epoch."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from feinschliff.engine.batching import (
    TOKEN_MULTIPLE,
    TokenTable,
    by_length,
    collate,
    epoch_order,
    group_by_length,
    micro_batches,
    padded_size,
)

Lengths = st.lists(st.integers(1, 60), min_size=1, max_size=40)


def table_of(lengths: list[int]) -> TokenTable:
    """Row i holds the numbers 1000 i, 1000 i + 1, ..."""
    ids = np.concatenate([1000 * row + np.arange(length) for row, length in enumerate(lengths)]).astype(np.int32)
    return TokenTable(ids, np.cumsum([0, *lengths]), (ids % 2).astype(np.int8))


@given(Lengths)
def test_a_batch_holds_each_row_whole_sorted_by_length(lengths: list[int]) -> None:
    table = table_of(lengths)
    targets = torch.arange(len(lengths)) * 7
    batch = collate(table, np.arange(len(lengths))[::-1].copy(), targets)
    assert batch.lengths_B.tolist() == sorted(lengths)
    assert batch.num_tokens == sum(lengths)
    place = 0
    for row, length in zip(batch.rows.tolist(), batch.lengths_B.tolist(), strict=True):
        part = slice(place, place + length)
        assert batch.ids_T[part].tolist() == [1000 * row + i for i in range(length)]
        assert batch.positions_T[part].tolist() == list(range(length))
        place += length
    assert batch.segments_T is not None
    assert torch.equal(batch.segments_T[:place], batch.ids_T[:place] % 2)
    assert batch.targets is not None
    assert torch.equal(batch.targets, batch.rows * 7)


@given(Lengths)
def test_filling_rounds_up_with_tokens_that_occur(lengths: list[int]) -> None:
    batch = collate(table_of(lengths), np.arange(len(lengths)))
    whole = len(batch.ids_T)
    assert whole == padded_size(batch.num_tokens)
    assert len(batch.positions_T) == whole
    assert set(batch.ids_T.tolist()) == set(batch.ids_T[: batch.num_tokens].tolist())
    assert batch.positions_T[batch.num_tokens :].tolist() == [0] * (whole - batch.num_tokens)


@given(st.integers(1, 100_000))
def test_sizes_are_few_and_waste_is_small(tokens: int) -> None:
    size = padded_size(tokens)
    assert size % TOKEN_MULTIPLE == 0
    assert tokens <= size <= max(tokens + TOKEN_MULTIPLE - 1, tokens * 17 // 16)
    assert padded_size(size) == size


def test_sixteen_sizes_a_doubling() -> None:
    assert len({padded_size(tokens) for tokens in range(1025, 2049)}) == 16
    assert len({padded_size(tokens) for tokens in range(4097, 8193)}) == 16


@given(Lengths)
def test_groups_cover_all_tokens_and_waste_little(lengths: list[int]) -> None:
    lengths = sorted(lengths)
    groups = group_by_length(lengths)
    assert sum(group.rows for group in groups) == len(lengths)
    assert groups[-1].stop == sum(lengths)
    row = 0
    for group in groups:
        own = lengths[row : row + group.rows]
        row += group.rows
        assert group.stop - group.start == sum(own)
        assert group.longest == max(16, *own)
        assert group.rows * group.longest**2 <= 1.3 * sum(max(16, n) ** 2 for n in own) + 2000
        assert (group.index is None) == (min(own) == group.longest)


@given(Lengths, st.integers(1, 200))
def test_micro_batches_hold_each_row_once_within_the_limit(lengths: list[int], limit: int) -> None:
    sizes = np.asarray(lengths)
    rows = np.arange(len(lengths))[::-1].copy()
    parts = list(micro_batches(rows, sizes, limit))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    assert all(sizes[part].sum() <= limit or len(part) == 1 for part in parts)
    assert [part.tolist() for part in by_length(sizes, 10**9)] == [np.argsort(sizes, kind="stable").tolist()]


def test_order_depends_on_seed_and_epoch_alone() -> None:
    assert epoch_order(10, 0, 0).tolist() == [4, 2, 5, 8, 6, 7, 9, 1, 0, 3]
    assert np.array_equal(epoch_order(100, 3, 2), epoch_order(100, 3, 2))
    orders = {tuple(epoch_order(100, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert all(sorted(order) == list(range(100)) for order in orders)
