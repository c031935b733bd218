"""Image models of transformers: parted from their classifier, images as their processors make them, written again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from feinschliff.errors import ModelError
from feinschliff.models.verify import verify_folder
from feinschliff.models.vision import ProcessorForm, load_vision, plain_image_logits, save_vision


def picture(width: int = 70, height: int = 41) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessorPil(size={"height": 32, "width": 48}, image_mean=[0.1, 0.2, 0.3]),
        ConvNextImageProcessorPil(size={"shortest_edge": 64}),
        ViTImageProcessorPil(size={"height": 32, "width": 32}, do_normalize=False),
    ],
)
def test_numbers_made_of_pixels_are_the_processors(processor: Any, tmp_path: Path) -> None:
    form = ProcessorForm(processor, tmp_path)
    pixels = form.pixels(picture())
    assert pixels.dtype == np.uint8
    ours = (pixels / 255 - np.reshape(form.mean, (3, 1, 1))) / np.reshape(form.std, (3, 1, 1))
    theirs = processor(images=picture(), return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_processor_that_does_more_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does more than"):
        ProcessorForm(EfficientNetImageProcessorPil(size={"height": 32, "width": 32}, rescale_offset=True), tmp_path)


def test_written_it_is_a_model_of_transformers(tiny_vit: Path, tmp_path: Path) -> None:
    loaded = load_vision(tiny_vit)
    weights = {f"body.{name}": value + 0.01 for name, value in loaded.body.named_parameters()}
    weights |= {"head.linear.weight": torch.randn(3, 32), "head.linear.bias": torch.randn(3)}
    save_vision(loaded, weights, ["a", "b", "c"], False, tmp_path)
    model = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert torch.equal(model.classifier.weight, weights["head.linear.weight"])
    assert torch.equal(model.vit.layernorm.bias, weights["body.model.vit.layernorm.bias"])
    given = AutoImageProcessor.from_pretrained(tmp_path)(images=[picture()], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(plain_image_logits(tmp_path, [picture()]), model(**given).logits)
    again = load_vision(tmp_path)
    assert torch.equal(again.weight_Cd, weights["head.linear.weight"])  # type: ignore[arg-type]


def test_folders_are_verified_without_a_tokenizer_but_with_a_processor(tiny_vit: Path, tmp_path: Path) -> None:
    assert verify_folder(tiny_vit) == []
    folder = shutil.copytree(tiny_vit, tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    assert ["how images are brought" in fault.what for fault in verify_folder(folder)] == [True]


def test_a_text_model_is_refused(tiny_bert: Path) -> None:
    assert json.loads((tiny_bert / "config.json").read_text())["model_type"] == "bert"
    with pytest.raises(ModelError, match="cannot be loaded as an image model"):
        load_vision(tiny_bert)
