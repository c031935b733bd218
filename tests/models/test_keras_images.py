"""Keras files as image models: sizes and ranges as announced, saved again, the same numbers from Keras itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from feinschliff.errors import ModelError
from feinschliff.models import keras_files, keras_folder
from feinschliff.models.keras_images import image_form, load_keras
from feinschliff.models.sources import resolve_model
from feinschliff.models.vision import load_vision, plain_image_probabilities, save_vision
from tests.models.tiny_keras import conv_net, keras, saved


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))


def folder_of(model: Any, path: Path, options: str = "") -> Path:
    return resolve_model(f"{saved(model, path / 'net.keras')}{options}").folder


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (21, 34, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("scaled", "options", "low", "high", "why"),
    [
        (False, "", 0, 1, "assumed"),
        (True, "", 0, 255, "scales them itself (rescaling"),
        (False, "?range=-1..1", -1, 1, "as asked"),
    ],
)
def test_the_range_of_values_is_found_or_asked_and_said(
    scaled: bool, options: str, low: float, high: float, why: str, tmp_path: Path
) -> None:
    form, said = image_form(load_keras(folder_of(conv_net(scaled=scaled), tmp_path, options)))
    values = torch.tensor([0.0, 1.0])
    torch.testing.assert_close((values - form.mean[0]) / form.std[0], torch.tensor([float(low), float(high)]))
    assert why in said[0]
    assert f"from {low} to {high}" in said[0]


def test_one_channel_is_grey(tmp_path: Path) -> None:
    loaded = load_vision(folder_of(conv_net(channels=1), tmp_path))
    pixels = loaded.form.pixels(picture())
    assert pixels.shape == (1, 16, 16)
    expected = np.asarray(picture().convert("L").resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels[0], expected)
    assert any("grey" in said for said in loaded.announcements)


def test_images_without_a_place_for_colours_are_grey_too(tmp_path: Path) -> None:
    k = keras()
    layers = [k.Input((8, 8)), k.layers.Flatten(), k.layers.Dense(6, activation="relu"), k.layers.Dense(3)]
    model = k.Sequential(layers)
    loaded = load_vision(folder_of(model, tmp_path))
    assert loaded.form.pixels(picture()).shape == (1, 8, 8)
    given = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        logits = loaded.body(given) @ model.layers[-1].kernel.value + model.layers[-1].bias.value
        torch.testing.assert_close(logits, model(given[:, 0], training=False))


def test_colours_in_front(tmp_path: Path) -> None:
    k = keras()
    inputs = k.Input((3, 8, 8))
    states = k.layers.Conv2D(5, 3, data_format="channels_first")(inputs)
    states = k.layers.GlobalAveragePooling2D(data_format="channels_first")(states)
    loaded = load_vision(folder_of(k.Model(inputs, k.layers.Dense(2)(states)), tmp_path))
    assert loaded.form.pixels(picture()).shape == (3, 8, 8)
    assert loaded.body(torch.rand(2, 3, 8, 8)).shape == (2, 5)


def test_any_size_has_to_be_said(tmp_path: Path) -> None:
    k = keras()
    inputs = k.Input((None, None, 3))
    states = k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(5, 3)(inputs))
    model = k.Model(inputs, k.layers.Dense(2)(states))
    with pytest.raises(ModelError, match="size=224"):
        load_vision(folder_of(model, tmp_path))
    loaded = load_vision(folder_of(model, tmp_path, "?size=12"))
    assert (loaded.form.height, loaded.form.width) == (12, 12)


def test_rows_of_numbers_are_no_images(tmp_path: Path) -> None:
    k = keras()
    model = k.Sequential([k.Input((4,)), k.layers.Dense(3), k.layers.Dense(2)])
    with pytest.raises(ModelError, match="tabular_classification"):
        load_vision(folder_of(model, tmp_path))


def test_a_model_of_one_layer_has_nothing_to_tune(tmp_path: Path) -> None:
    k = keras()
    with pytest.raises(ModelError, match="no layers below"):
        load_keras(folder_of(k.Sequential([k.Input((4,)), k.layers.Dense(2)]), tmp_path))


@pytest.mark.parametrize(
    ("activation", "multi_label", "written"),
    [("softmax", False, "softmax"), (None, False, "linear"), ("softmax", True, "sigmoid"), (None, True, "linear")],
)
def test_written_again_keras_itself_gives_the_same(
    activation: str | None, multi_label: bool, written: str, tmp_path: Path
) -> None:
    loaded = load_vision(folder_of(conv_net(activation=activation), tmp_path, "?range=-1..1&license=MIT"))
    names = {f"body.{name}": value.detach() + 0.01 for name, value in loaded.body.named_parameters()}
    weights = {**names, "head.linear.weight": torch.randn(3, 10), "head.linear.bias": torch.randn(3)}
    folder = tmp_path / "written"
    folder.mkdir()
    save_vision(loaded, weights, ["a", "b", "c"], multi_label, folder)
    with torch.no_grad():
        for name, value in loaded.body.named_parameters():
            value.copy_(weights[f"body.{name}"])
        pixels = torch.from_numpy(np.stack([loaded.form.pixels(picture(seed)) for seed in (1, 2)])).float()
        logits = loaded.body(pixels / 127.5 - 1) @ weights["head.linear.weight"].T + weights["head.linear.bias"]
    expected = torch.sigmoid(logits) if multi_label else torch.softmax(logits, -1)
    found = plain_image_probabilities(folder, [picture(1), picture(2)], multi_label)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert keras_files.read(folder).activation == written
    assert keras_folder.labels(folder) == ["a", "b", "c"]
    assert str(tmp_path) not in (folder / "keras.json").read_text()
    assert {file.name for file in folder.iterdir()} == {"model.keras", "keras.json", "load_model.py"}
    again = load_vision(folder)
    assert again.weight_Cd is not None
    torch.testing.assert_close(again.weight_Cd, weights["head.linear.weight"])
