"""Frozen layers: the head and the last k blocks move."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.numerics.tiny_runs import made_run


@pytest.mark.parametrize(
    ("asked", "depths"), [(0, {4}), (1, {3, 4}), (2, {2, 3, 4}), (3, {1, 2, 3, 4}), (9, {1, 2, 3, 4})]
)
def test_depths_that_move(tiny_bert: Path, tmp_path: Path, asked: int, depths: set[int]) -> None:
    prepared = made_run(tiny_bert, tmp_path, method={"type": "frozen_layers", "trained_layers": asked})
    assert {prepared.network.depth_of(name) for name in prepared.learner.masters.names} == depths
