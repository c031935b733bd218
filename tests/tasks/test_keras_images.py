"""Keras files trained on images: what a method says moves, the cache changes nothing, Keras gives the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from feinschliff.config import rules
from feinschliff.engine import loop
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.finish import over_base
from feinschliff.lifecycle.prepare import Prepared, prepare
from feinschliff.models.sources import ResolvedModel, resolve_model
from feinschliff.tasks import _image_table
from tests.models.tiny_keras import conv_net, saved
from tests.numerics.tiny_runs import made_config, made_fit, made_splits, weights_of

METHODS: list[dict[str, Any]] = [
    {"type": "full"},
    {"type": "frozen_layers", "trained_layers": 1},
    {"type": "frozen_layers", "trained_layers": 0},
    {"type": "bitfit"},
    {"type": "gradual_unfreezing", "layers_per_epoch": 2.0},
]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResolvedModel:
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    _image_table._kept.clear()
    return resolve_model(str(saved(conv_net(channels=1), tmp_path / "net.keras")))


def made(base: ResolvedModel, path: Path, **changes: Any) -> Prepared:
    options = {"precision": "auto", "epochs": 3.0, **changes}
    config = made_config(base.folder, path, task={"type": "image_classification"}, **options)
    return prepare(config, made_splits(24, 12, "images"), base, path)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_what_moves_and_what_keras_makes_of_it(model: ResolvedModel, tmp_path: Path, method: dict[str, Any]) -> None:
    prepared = made(model, tmp_path, method=method)
    network = prepared.network
    said = {
        name for group in prepared.method.parameter_groups(network, prepared.config.training) for name in group.names
    }
    before = {name: value.clone() for name, value in network.named_parameters()}
    list(loop.fit(made_fit(prepared, tmp_path)))
    moved = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    assert moved == said
    folder = tmp_path / "written"
    folder.mkdir()
    base, weights = over_base(prepared, prepared.learner.masters.named(), model)
    prepared.task.save_native(network, prepared.method.merged_weights(base, weights), folder)
    examples = prepared.validation.examples
    ours = prepared.task.own_outputs(network.eval(), examples, 10)
    theirs = prepared.task.plain_outputs(folder, examples)
    assert float(np.abs(ours - theirs).max()) < 1e-5
    again = prepared.task.own_outputs(prepared.task.load_finished(folder, "").eval(), examples, 10)
    assert float(np.abs(ours - again).max()) < 1e-5


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_the_cache_of_frozen_layers_changes_nothing(model: ResolvedModel, tmp_path: Path, layers: int) -> None:
    found = []
    for cache in ("auto", "off"):
        method = {"type": "frozen_layers", "trained_layers": layers}
        prepared = made(model, tmp_path / cache, method=method, prefix_cache=cache)
        assert (prepared.learner.cache is not None) == (cache == "auto")
        list(loop.fit(made_fit(prepared, tmp_path / cache)))
        found.append(weights_of(prepared))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=1e-6)


def test_dropout_and_precision_are_said(model: ResolvedModel, tmp_path: Path) -> None:
    prepared = made(model, tmp_path, model={"dropout": 0.3})
    assert any("dropout acts on the features" in note for note in prepared.announcements)
    assert any("precision fp32" in note for note in prepared.announcements)
    with pytest.raises(ConfigError, match="fp32"):
        made(model, tmp_path, precision="bf16")


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_adapters_are_refused_by_a_rule(tmp_path: Path, method: str) -> None:
    config = made_config(
        tmp_path / "net.keras", tmp_path, task={"type": "image_classification"}, method={"type": method}
    )
    (fault,) = (one for one in rules.check(config) if "Keras" in one.what)
    assert fault.why
    assert fault.remedy


def test_the_same_run_gives_the_same_bits(model: ResolvedModel, tmp_path: Path) -> None:
    found = []
    for number in ("1", "2"):
        prepared = made(model, tmp_path / number, method={"type": "full"}, model={"dropout": 0.2})
        list(loop.fit(made_fit(prepared, tmp_path / number)))
        found.append(weights_of(prepared))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize("kind", ["light", "strong"])
def test_grey_images_can_be_changed_by_chance(model: ResolvedModel, tmp_path: Path, kind: str) -> None:
    task = {"type": "image_classification", "augmentation": kind}
    config = made_config(model.folder, tmp_path, task=task, epochs=1.0)
    prepared = prepare(config, made_splits(24, 12, "images"), model, tmp_path)
    list(loop.fit(made_fit(prepared, tmp_path)))
    assert all(bool(torch.isfinite(value).all()) for value in weights_of(prepared).values())
