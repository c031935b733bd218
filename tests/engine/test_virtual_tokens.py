"""Places for virtual tokens: in front of every row, and batches without them are those of the table before."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from feinschliff.engine.batching import TokenTable, collate
from feinschliff.engine.virtual_tokens import with_virtual_tokens, without_virtual_tokens


def table_of(rows: list[list[int]], segments: bool) -> TokenTable:
    ids = np.concatenate([np.asarray(row, np.int32) for row in rows])
    return TokenTable(ids, np.cumsum([0, *map(len, rows)]), (ids % 2).astype(np.int8) if segments else None)


ROWS = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=40), min_size=1, max_size=9)


@given(ROWS, st.integers(0, 5), st.booleans())
def test_every_row_begins_with_its_places(rows: list[list[int]], count: int, segments: bool) -> None:
    places = [-1 - place for place in range(count)]
    table = with_virtual_tokens(table_of(rows, segments), count)
    assert len(table) == len(rows)
    assert table.ids.dtype == np.int32
    for row, (begin, end) in zip(rows, zip(table.offsets[:-1], table.offsets[1:], strict=True), strict=True):
        assert table.ids[begin:end].tolist() == places + row
        if table.segments is not None:
            assert table.segments[begin:end].tolist() == [0] * count + [token % 2 for token in row]
    assert (table.segments is not None) == segments


@given(ROWS, st.integers(1, 5), st.booleans())
def test_a_batch_without_them_is_the_batch_of_the_table_before(
    rows: list[list[int]], count: int, segments: bool
) -> None:
    table = table_of(rows, segments)
    everything = np.arange(len(rows))
    targets = torch.arange(len(rows))
    expected = collate(table, everything, targets)
    found = without_virtual_tokens(collate(with_virtual_tokens(table, count), everything, targets), count)
    real = expected.num_tokens
    assert found.num_tokens == real
    assert len(found.ids_T) == len(expected.ids_T)
    for name in ("rows", "lengths_B", "targets"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    for name in ("ids_T", "positions_T", "segments_T"):
        mine, other = getattr(found, name), getattr(expected, name)
        assert (mine is None) == (other is None)
        assert mine is None or torch.equal(mine[:real], other[:real])
    assert [(g.start, g.stop, g.longest) for g in found.groups] == [
        (g.start, g.stop, g.longest) for g in expected.groups
    ]
