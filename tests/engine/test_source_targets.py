"""Tables of sources and targets: what batches hold, how they are padded, where a prefix's outputs stand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from feinschliff.engine.batching import NO_TARGET, TokenTable, TokenTargets
from feinschliff.engine.source_targets import SourceTargets, padded, real

Rows = list[list[int]]
ids = st.lists(st.integers(1, 99), min_size=1, max_size=6)
pairs = st.lists(st.tuples(ids, st.one_of(st.just([]), ids)), min_size=1, max_size=7)


def table(rows: Rows) -> TokenTable:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
    return TokenTable(np.array([one for row in rows for one in row], dtype=np.int32), offsets)


@given(pairs, st.randoms())
def test_rows_come_back_from_a_batch(rows: list[tuple[list[int], list[int]]], rng: object) -> None:
    sources, targets = [row[0] for row in rows], [row[1] for row in rows]
    made = SourceTargets(table(sources), table(targets), padding_id=7)
    order = np.array(sorted(range(len(rows)), key=lambda _: rng.random()))  # type: ignore[attr-defined]
    batch = made.collate(order, TokenTargets(made.targets.ids.astype(np.int64)))
    ids_BS, real_BS = batch.sources()
    ids_BL, real_BL = batch.written()
    for place, row in enumerate(order.tolist()):
        assert ids_BS[place][real_BS[place]].tolist() == sources[row]
        assert ids_BL[place][real_BL[place]].tolist() == targets[row]
    assert set(ids_BS[~real_BS].tolist()) <= {7}
    assert set(ids_BL[~real_BL].tolist()) <= {NO_TARGET}
    assert batch.num_tokens == made.lengths[order].sum()
    assert torch.equal(batch.targets, batch.target_ids_T)  # type: ignore[arg-type]


@given(pairs)
def test_outputs_of_a_prefix_stand_where_source_tokens_stand(rows: list[tuple[list[int], list[int]]]) -> None:
    made = SourceTargets(table([row[0] for row in rows]), table([row[1] for row in rows]), 0)
    order = np.arange(len(rows))[::-1].copy()
    batch = made.collate(order)
    kept = torch.from_numpy(made.sources.ids.astype(np.int64))
    assert torch.equal(kept[made.places(batch, pooled=False)], batch.ids_T)
    assert made.num_places(pooled=False) == len(kept)
    assert batch.targets is None


def test_states_are_padded_like_ids() -> None:
    mask = real(torch.tensor([1, 3]))
    states = padded(torch.arange(8.0).reshape(4, 2), mask, 0.0)
    assert states.tolist() == [[[0, 1], [0, 0], [0, 0]], [[2, 3], [4, 5], [6, 7]]]


def test_targets_of_rows_are_refused() -> None:
    with pytest.raises(TypeError):
        SourceTargets(table([[1]]), table([[2]]), 0).collate(np.zeros(1, dtype=np.int64), torch.zeros(1))


def test_hashes_see_both_sides() -> None:
    arrays = list(SourceTargets(table([[1, 2]]), table([[3]]), 0).arrays())
    assert any(array is not None and array.tolist() == [3] for array in arrays)
