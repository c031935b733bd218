"""Training on images: equal to plain PyTorch, equal with and without the cache, exact after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForImageClassification

from feinschliff.engine import loop, prefix_cache
from feinschliff.engine.batching import epoch_order
from feinschliff.engine.images import ImageTable, empty_pixels
from feinschliff.errors import ConfigError
from feinschliff.tasks import _augmentation
from feinschliff.tasks._augmentation import augmentation
from tests.numerics.tiny_runs import (
    hash_of,
    largest_difference,
    made_fit,
    made_run,
    made_splits,
    train_to_end,
    weights_of,
)

IMAGES: dict[str, Any] = {"task": {"type": "image_classification"}}
LAST_LAYER = {"type": "frozen_layers", "trained_layers": 1}


def whole_run(model: Path, path: Path, **changes: Any) -> loop.Fit:
    splits = made_splits(32, 12, "images")
    return train_to_end(model, path, splits, **{**IMAGES, **changes})


def test_a_run_is_plain_pytorch(tiny_vit: Path, tmp_path: Path) -> None:
    plain_options = {"weight_averaging": 0.0, "label_smoothing": 0.0, "warmup_ratio": 0.0, "weight_decay": 0.0}
    options = {**plain_options, "schedule": "constant", "max_grad_norm": None, "head_learning_rate_multiplier": 1.0}
    splits = made_splits(24, 12, "images")
    prepared = made_run(tiny_vit, tmp_path, splits, **IMAGES, **options, method={"type": "full"}, epochs=1.0)
    model = AutoModelForImageClassification.from_pretrained(tiny_vit, num_labels=3, ignore_mismatched_sizes=True)
    head = prepared.network.head.linear
    model.classifier.load_state_dict({"weight": head.weight.detach().clone(), "bias": head.bias.detach().clone()})
    table, targets = prepared.learner.table, prepared.learner.targets
    list(loop.fit(made_fit(prepared, tmp_path)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    order = epoch_order(24, 0, 0)
    for begin in range(0, 24, 8):
        rows = torch.from_numpy(order[begin : begin + 8])
        logits = model((table.pixels[rows].float() / 255 - 0.5) / 0.5).logits  # type: ignore[attr-defined]
        F.cross_entropy(logits, targets[rows]).backward()  # type: ignore[index]
        optimizer.step()
        optimizer.zero_grad()
    theirs = {f"body.model.{name}": p.detach() for name, p in model.named_parameters() if "classifier" not in name}
    ours = {name: p.detach() for name, p in prepared.network.named_parameters() if name.startswith("body.")}
    assert largest_difference(ours, theirs) < 2e-5


@pytest.mark.parametrize("trained_layers", [0, 1])
def test_with_the_cache_the_same_weights_come_out(tiny_vit: Path, tmp_path: Path, trained_layers: int) -> None:
    method = {"type": "frozen_layers", "trained_layers": trained_layers}
    cached = whole_run(tiny_vit, tmp_path / "a", method=method)
    plain = whole_run(tiny_vit, tmp_path / "b", method=method, prefix_cache="off")
    assert cached.learner.cache is not None
    assert plain.learner.cache is None
    assert largest_difference(weights_of(cached), weights_of(plain)) < 1e-5


def test_with_the_cache_no_lower_layer_is_computed_and_no_pixel_looked_at(
    tiny_vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = made_run(tiny_vit, tmp_path, made_splits(16, 8, "images"), **IMAGES, method=LAST_LAYER)
    computed: list[str] = []
    for name, module in prepared.network.body.model.named_modules():
        if name.count(".") > 2:  # parts of layers: layers themselves are called, but stand-ins answer
            module.register_forward_hook(lambda *_, name=name: computed.append(name))
    monkeypatch.setattr(prepared.learner.table, "pixels", torch.empty(16, 3, 32, 32, device="meta"))
    list(loop.fit(made_fit(prepared, tmp_path)))
    ran = {name.split(".")[2] for name in computed if name.startswith("vit.layers.")}
    assert ran == {"2"}
    assert not any("embeddings" in name for name in computed)


def test_maps_in_a_mapped_file_are_the_same(tiny_vit: Path, tmp_path: Path) -> None:
    prepared = made_run(
        tiny_vit, tmp_path, made_splits(16, 8, "images"), **IMAGES, method=LAST_LAYER, prefix_cache="off"
    )
    stage = prepared.network.frozen_prefix()
    caches = [
        prefix_cache.build(
            prepared.network, prepared.learner.table, stage, max_tokens=64, memory_gib=size, folder=tmp_path / "cache"
        )
        for size in (1.0, 1e-9)
    ]
    assert caches[1].file is not None
    assert torch.equal(caches[0].outputs, caches[1].outputs)
    caches[1].close()


@pytest.mark.parametrize("kind", ["light", "strong"])
def test_a_resumed_run_sees_the_same_augmented_images(tiny_vit: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("kornia")
    task = {"type": "image_classification", "augmentation": kind}
    whole = whole_run(tiny_vit, tmp_path / "a", task=task, method=LAST_LAYER)
    assert whole.learner.cache is None
    without = whole_run(tiny_vit, tmp_path / "c", method=LAST_LAYER, prefix_cache="off")
    assert hash_of(whole) != hash_of(without)
    splits = made_splits(32, 12, "images")
    changes: dict[str, Any] = {"task": task, "method": LAST_LAYER}
    first = made_fit(made_run(tiny_vit, tmp_path / "b", splits, **changes), tmp_path / "b")
    for _ in zip(range(3), loop.fit(first), strict=False):
        pass
    loop.save(first)
    second = made_fit(made_run(tiny_vit, tmp_path / "b", splits, **changes), tmp_path / "b")
    assert loop.resume(second) == first.state.step > 0
    list(loop.fit(second))
    assert hash_of(second) == hash_of(whole)


def test_augmentation_keeps_shape_and_range_and_scoring_goes_without() -> None:
    pytest.importorskip("kornia")
    change = augmentation("light", 32, 24)
    assert change is not None
    images = torch.rand(5, 3, 32, 24)
    changed = change(images)
    assert changed.shape == images.shape
    assert not torch.equal(changed, images)
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert augmentation("none", 32, 24) is None


def test_without_kornia_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(_augmentation.importlib, "import_module", absent)
    with pytest.raises(ConfigError, match="needs kornia"):
        augmentation("light", 32, 32)


def test_tables_hash_their_pixels_and_large_ones_are_mapped(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    mapped = empty_pixels(4, 8, 8, memory_bytes=10)
    mapped.copy_(pixels)
    first, second = (next(ImageTable(values).arrays()) for values in (pixels, mapped))
    assert first is not None
    assert np.array_equal(first, second)  # type: ignore[arg-type]
    mapped[3, 2, 7, 7] += 1
    assert not np.array_equal(first, next(ImageTable(mapped).arrays()))  # type: ignore[arg-type]
