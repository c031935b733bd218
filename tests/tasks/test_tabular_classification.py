"""Rows of numbers through a Keras file: equal to plain PyTorch, and Keras itself gives the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from feinschliff.engine import loop
from feinschliff.engine.batching import epoch_order
from feinschliff.errors import ModelError
from feinschliff.lifecycle.finish import over_base
from feinschliff.models.sources import resolve_model
from tests.models.tiny_keras import saved, table_net
from tests.numerics.tiny_runs import made_fit, made_run, made_splits, resolved

NUMBERS: dict[str, Any] = {"task": {"type": "tabular_classification"}}


def test_a_run_is_plain_pytorch(tiny_keras: Path, tmp_path: Path) -> None:
    plain = {"weight_averaging": 0.0, "label_smoothing": 0.0, "warmup_ratio": 0.0, "weight_decay": 0.0}
    options = {**plain, "schedule": "constant", "max_grad_norm": None, "head_learning_rate_multiplier": 1.0}
    splits = made_splits(24, 12, "numbers")
    prepared = made_run(tiny_keras, tmp_path, splits, **NUMBERS, **options, method={"type": "full"}, epochs=2.0)
    layers = table_net().layers
    weights = [v.value.detach().clone().requires_grad_() for layer in (layers[1], layers[2]) for v in layer.variables]
    weights += [p.detach().clone().requires_grad_() for p in prepared.network.head.parameters()]
    targets = prepared.learner.targets
    list(loop.fit(made_fit(prepared, tmp_path)))
    rows = torch.tensor([example.numbers for example in splits.train])
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0)
    for epoch in range(2):
        order = epoch_order(24, 0, epoch)
        for begin in range(0, 24, 8):
            batch = torch.from_numpy(order[begin : begin + 8])
            states = torch.relu(rows[batch] @ weights[0] + weights[1])
            states = torch.relu(states @ weights[2] + weights[3])
            F.cross_entropy(states @ weights[4].T + weights[5], targets[batch]).backward()  # type: ignore[index]
            optimizer.step()
            optimizer.zero_grad()
    ours = [p.detach() for p in prepared.network.parameters()]
    for mine, theirs in zip(ours, weights, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normalised", [False, True])
def test_keras_gives_the_same_answers(normalised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    base = resolve_model(str(saved(table_net(normalised=normalised), tmp_path / "net.keras")))
    prepared = made_run(base.folder, tmp_path, made_splits(24, 12, "numbers"), **NUMBERS, method={"type": "full"})
    said = "standardises them itself (normalization" if normalised else "no Normalization"
    assert any(said in note for note in prepared.announcements)
    list(loop.fit(made_fit(prepared, tmp_path)))
    folder = tmp_path / "written"
    folder.mkdir()
    _, weights = over_base(prepared, prepared.learner.masters.named(), base)
    prepared.task.save_native(prepared.network, weights, folder)
    rows = prepared.validation.examples
    ours = prepared.task.own_outputs(prepared.network.eval(), rows, 10)
    again = prepared.task.own_outputs(prepared.task.load_finished(folder, "").eval(), rows, 10)
    assert float(np.abs(ours - prepared.task.plain_outputs(folder, rows)).max()) < 1e-5
    assert float(np.abs(ours - again).max()) < 1e-5


@pytest.mark.parametrize(("width", "said"), [(3, "reads 3 numbers, the rows have 4"), (5, "in order: a, b, c, d")])
def test_another_count_of_numbers_is_refused(
    width: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    base = resolve_model(str(saved(table_net(width), tmp_path / "net.keras")))
    with pytest.raises(ModelError, match=said):
        made_run(base.folder, tmp_path, made_splits(24, 12, "numbers"), **NUMBERS)


def test_models_of_texts_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="need a model that reads numbers"):
        made_run(tiny_bert, tmp_path, made_splits(24, 12, "numbers"), **NUMBERS)


def test_the_cache_of_frozen_layers_changes_nothing(tiny_keras: Path, tmp_path: Path) -> None:
    found = []
    for cache in ("auto", "off"):
        method = {"type": "frozen_layers", "trained_layers": 1}
        splits = made_splits(24, 12, "numbers")
        prepared = made_run(tiny_keras, tmp_path / cache, splits, **NUMBERS, method=method, prefix_cache=cache)
        list(loop.fit(made_fit(prepared, tmp_path / cache)))
        found.append({name: value.clone() for name, value in prepared.learner.masters.named().items()})
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-5, atol=1e-6)


def test_the_fixture_is_a_model_as_any(tiny_keras: Path) -> None:
    assert resolve_model(str(tiny_keras)).folder == resolved(tiny_keras).folder
