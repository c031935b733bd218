"""Gradual unfreezing: which layers move in which epoch, and that a stopped run goes on to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from feinschliff.engine import loop
from feinschliff.lifecycle.prepare import Prepared
from tests.numerics.test_resume import stopped_then_finished
from tests.numerics.tiny_runs import made_fit, made_run, weights_of


def made(folder: Path, path: Path, layers_per_epoch: float = 1.0, **changes: Any) -> Prepared:
    return made_run(
        folder, path, method={"type": "gradual_unfreezing", "layers_per_epoch": layers_per_epoch}, **changes
    )


def depths_with_gradient(prepared: Prepared) -> set[int]:
    network = prepared.network
    return {network.depth_of(name) for name, p in network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("layers_per_epoch", "lowest"), [(1.0, [4, 3, 2, 1, 0, 0]), (2.0, [4, 2, 0, 0]), (0.5, [4, 4, 3, 3, 2, 2, 1])]
)
def test_depths_by_epoch(tiny_bert: Path, tmp_path: Path, layers_per_epoch: float, lowest: list[int]) -> None:
    prepared = made(tiny_bert, tmp_path, layers_per_epoch)
    for epoch in (*range(len(lowest)), 1, 0):  # a function of the epoch alone, so in any order
        prepared.method.start_epoch(prepared.network, epoch)
        assert depths_with_gradient(prepared) == set(range(lowest[epoch], 5))


def test_rows_that_do_not_occur_stay_frozen(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made(tiny_bert, tmp_path)
    prepared.method.start_epoch(prepared.network, 9)
    trained = [name for name, p in prepared.network.named_parameters() if p.requires_grad]
    assert trained == prepared.learner.masters.names
    assert not [name for name in trained if "table_Vd" in name]


def test_what_is_frozen_drops_nothing_out(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made(tiny_bert, tmp_path, model={"dropout": 0.2})
    network = prepared.network.train()
    parts = [network.body.embeddings, *network.body.layers]
    for epoch, modes in enumerate([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]):
        prepared.method.start_epoch(network, epoch)
        assert [part.training for part in parts] == [bool(mode) for mode in modes]
        assert network.head.training
    network.eval()
    prepared.method.start_epoch(network, 1)
    assert not any(part.training for part in parts)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_move_when_their_epoch_comes(tiny_bert: Path, tmp_path: Path, precision: str) -> None:
    prepared = made(tiny_bert, tmp_path, epochs=3.0, precision=precision, weight_decay=0.1)
    assert prepared.learner.cache is None
    assert set(prepared.learner.masters.names) == {n for n, p in prepared.network.named_parameters() if p.requires_grad}
    fit = made_fit(prepared, tmp_path)
    before, moved = weights_of(fit), []
    for event in loop.fit(fit):
        if type(event).__name__ == "Evaluated":
            after = weights_of(fit)
            moved.append({prepared.network.depth_of(n) for n in after if not torch.equal(after[n], before[n])})
            held = {name.split(".", 1)[1] for name in prepared.learner.optimizer.state()}
            assert {prepared.network.depth_of(name) for name in held} == moved[-1], "moments begin when a layer joins"
    assert moved == [{4}, {3, 4}, {2, 3, 4}]


def test_its_first_epoch_is_that_of_a_head_trained_alone(tiny_bert: Path, tmp_path: Path) -> None:
    def after_one_epoch(method: dict[str, Any]) -> dict[str, torch.Tensor]:
        changes: dict[str, Any] = {"epochs": 1.0, "model": {"dropout": 0.2}, "schedule": "constant"}
        fit = made_fit(made_run(tiny_bert, tmp_path, method=method, **changes), tmp_path)
        list(loop.fit(fit))
        return {name: value for name, value in weights_of(fit).items() if name.startswith("head.")}

    alone = after_one_epoch({"type": "frozen_layers", "trained_layers": 0})
    gradual = after_one_epoch({"type": "gradual_unfreezing"})
    for name, value in alone.items():
        torch.testing.assert_close(gradual[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stops", [[4, 5], [5, 6, 11]])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stop_at_any_border_changes_no_bit(tiny_bert: Path, tmp_path: Path, stops: list[int], precision: str) -> None:
    """Steps 5, 10 and 15 end an epoch of 40 rows; averages and a share of the start are kept too."""
    changes = {
        "method": {"type": "gradual_unfreezing", "layers_per_epoch": 2.0},
        "epochs": 3.0,
        "precision": precision,
        "weight_averaging": 0.3,
        "base_weights_share": 0.2,
    }
    expected = stopped_then_finished(tiny_bert, tmp_path / "alone", [], **changes)
    assert stopped_then_finished(tiny_bert, tmp_path / "a", stops, **changes) == expected
