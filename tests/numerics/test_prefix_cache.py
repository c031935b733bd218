"""Training on cached outputs of the frozen layers gives what recomputing them gives, wherever the cache lies."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from feinschliff.engine import loop
from feinschliff.engine.prefix_cache import build, cache_key
from feinschliff.lifecycle.prepare import Prepared
from tests.numerics.tiny_runs import largest_difference, made_fit, made_run, made_splits, weights_of

SMOOTH = {"epochs": 2.0, "adam_epsilon": 1e-4}


def trained(folder: Path, path: Path, layers: int, **changes: Any) -> tuple[loop.Fit, Prepared]:
    method = {"type": "frozen_layers", "trained_layers": layers}
    prepared = made_run(folder, path, method=method, **SMOOTH, **changes)
    fit = made_fit(prepared, path)
    list(loop.fit(fit))
    return fit, prepared


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_cached_equals_recomputed(tiny_bert: Path, tmp_path: Path, layers: int, pooling: str) -> None:
    model = {"pooling": pooling, "dropout": 0.0}
    with_cache, prepared = trained(tiny_bert, tmp_path / "on", layers, model=model)
    without, plain = trained(tiny_bert, tmp_path / "off", layers, model=model, prefix_cache="off")
    cache = prepared.learner.cache
    assert cache is not None
    assert plain.learner.cache is None
    assert cache.stage.pooled == (layers == 0)
    assert cache.stage.layers == 3 - layers
    assert cache.outputs.shape == ((48, 32) if layers == 0 else (len(prepared.learner.table.ids), 32))
    assert largest_difference(weights_of(with_cache), weights_of(without)) < 2e-6
    for mine, other in zip(with_cache.state.curve, without.state.curve, strict=True):
        assert mine.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert mine.validation_metric == other.validation_metric
    losses = [
        [point.validation_loss for point in fit.state.curve if point.validation_loss is not None]
        for fit in (with_cache, without)
    ]
    assert losses[0]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_full_disk_costs_the_cache_and_not_the_run(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    found, prepared = trained(tiny_bert, tmp_path / "full", 1, prefix_cache_memory_gib=1e-9)
    assert prepared.learner.cache is None
    assert any("computed in every epoch, not kept: no space left" in note for note in prepared.announcements)
    plain, _ = trained(tiny_bert, tmp_path / "off", 1, prefix_cache="off")
    assert largest_difference(weights_of(found), weights_of(plain)) == 0.0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_mapped_equals_in_memory(tiny_bert: Path, tmp_path: Path, precision: str) -> None:
    small = {"prefix_cache_memory_gib": 1e-9, "precision": precision}
    mapped, prepared = trained(tiny_bert, tmp_path / "file", 1, **small)
    cache = prepared.learner.cache
    assert cache is not None
    assert cache.file is not None
    assert cache.file.stat().st_size == cache.outputs.numel() * cache.outputs.element_size()
    assert "memory-mapped" in cache.description
    in_memory, other = trained(tiny_bert, tmp_path / "memory", 1, precision=precision)
    assert other.learner.cache is not None
    assert other.learner.cache.file is None
    assert torch.equal(cache.outputs, other.learner.cache.outputs)
    assert largest_difference(weights_of(mapped), weights_of(in_memory)) == 0.0
    prepared.close()
    assert list((tmp_path / "file" / "prefix-cache").iterdir()) == []


def test_nothing_is_cached_where_the_lowest_layer_moves(tiny_bert: Path, tmp_path: Path) -> None:
    for method in ({"type": "full"}, {"type": "lora"}, {"type": "frozen_layers", "trained_layers": 3}):
        assert made_run(tiny_bert, tmp_path, method=method).learner.cache is None


def test_lora_on_the_last_layer_alone_is_cached_below_it(tiny_bert: Path, tmp_path: Path) -> None:
    method = {"type": "lora", "rank": 4, "target_modules": ["layer.2.attention.self.query"]}
    prepared = made_run(tiny_bert, tmp_path, method=method)
    assert prepared.learner.cache is not None
    assert prepared.learner.cache.stage.layers == 2


def test_dropout_of_frozen_parts_is_off_so_both_ways_agree(tiny_bert: Path, tmp_path: Path) -> None:
    """With dropout in the trained layer only, cached and recomputed still draw the same masks."""
    model = {"dropout": 0.3}
    with_cache, _ = trained(tiny_bert, tmp_path / "on", 1, model=model)
    without, _ = trained(tiny_bert, tmp_path / "off", 1, model=model, prefix_cache="off")
    assert largest_difference(weights_of(with_cache), weights_of(without)) < 2e-6
    plain, _ = trained(tiny_bert, tmp_path / "plain", 1)
    assert largest_difference(weights_of(with_cache), weights_of(plain)) > 1e-4


def test_the_key_changes_with_all_that_the_outputs_depend_on(tiny_bert: Path, tmp_path: Path) -> None:
    def run(layers: int = 1, **changes: Any) -> Prepared:
        return made_run(tiny_bert, tmp_path, method={"type": "frozen_layers", "trained_layers": layers}, **changes)

    def key(prepared: Prepared) -> str:
        stage = prepared.network.frozen_prefix()
        return cache_key(prepared.network, stage, prepared.learner.table)

    first = run()
    assert key(first) == key(run())
    keys = {"first": key(first), "stage": key(run(2)), "pooled": key(run(0)), "precision": key(run(precision="bf16"))}
    keys["pooling"] = key(run(model={"pooling": "mean"}))
    keys["rows"] = key(made_run(tiny_bert, tmp_path, made_splits(47), method=first.config.method.model_dump()))
    with torch.no_grad():
        next(first.network.body.layers[0].parameters()).view(-1)[0] += 1e-6
    keys["frozen weight"] = key(first)
    other = run()
    other.learner.table.ids[3] += 1
    keys["token"] = key(other)
    other = run()
    table = other.learner.table
    table.offsets[1] += 1
    keys["row border"] = key(other)
    other = run()
    other.learner.table.segments = np.zeros(len(table.ids), dtype=np.int8)
    keys["segments"] = key(other)
    assert len(set(keys.values())) == len(keys), keys
    other = run()
    with torch.no_grad():
        other.network.head.linear.weight.add_(1.0)
    assert key(other) == keys["first"], "the head is no part of the prefix"


def test_a_row_of_one_token_is_not_mistaken(tiny_bert: Path, tmp_path: Path) -> None:
    """Pooled features [B, d] and hidden states [T, d] have one shape where every row is one token."""
    prepared = made_run(tiny_bert, tmp_path, method={"type": "frozen_layers", "trained_layers": 0})
    table = prepared.learner.table
    table.ids, table.offsets = table.ids[:6].copy(), np.arange(7)
    network = prepared.network.eval()
    cache = build(
        network, table, network.frozen_prefix(), max_tokens=100, memory_gib=1.0, folder=tmp_path / "prefix-cache"
    )
    from feinschliff.engine.batching import collate

    batch = collate(table, np.arange(6))
    with torch.no_grad():
        expected = network(batch)
        cache.attach(batch, table)
        torch.testing.assert_close(network(batch), expected)
