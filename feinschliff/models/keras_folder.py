"""A Keras model of a folder with what must be known to ask it. Needs Keras 3, on any of its backends, numpy, Pillow.

A copy lies beside a trained ``model.keras`` as ``load_model.py``:

    model = load("folder")
    answer = model.predict(preprocess(Image.open("picture.jpg"), "folder")[None])   # one number a label
    labels("folder")
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FILE = "model.keras"
FACTS = "keras.json"


def load(folder: str | Path) -> Any:
    """The model, without what it was trained with."""
    return importlib.import_module("keras").saving.load_model(Path(folder) / FILE, compile=False)


def facts(folder: str | Path) -> dict[str, Any]:
    """What ``keras.json`` says."""
    found: dict[str, Any] = json.loads((Path(folder) / FACTS).read_text(encoding="utf-8"))
    return found


def labels(folder: str | Path) -> list[str]:
    """In the order of the model's outputs."""
    return list(facts(folder)["labels"])


def pixels(image: Image.Image, height: int, width: int, channels: int) -> Any:
    """uint8 [channels, height, width], stretched to fit as Keras's own reader of folders does."""
    scaled = image.convert("RGB" if channels == 3 else "L").resize((width, height), Image.Resampling.BILINEAR)
    values = np.array(scaled, dtype=np.uint8).reshape(height, width, channels)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def preprocess(image: Image.Image, folder: str | Path) -> Any:
    """An image as the model reads it, float32 in the shape of its input."""
    said = facts(folder)
    low, high = said["range"]
    values = pixels(image, said["height"], said["width"], said["channels"]).astype(np.float32)
    if not said["channels_first"]:
        values = values.transpose(1, 2, 0)
    return (values / 255.0 * (high - low) + low).reshape(said["shape"])


def outputs(folder: str | Path, rows: Any) -> Any:
    """Probabilities [N, C] of rows in the shape of the model's input, where it gives logits too."""
    model, said = load(folder), facts(folder)
    given = np.asarray(model.predict(np.asarray(rows, dtype=np.float32), verbose=0), dtype=np.float64)
    if said["activation"] != "linear":
        return given
    if said["multi_label"]:
        return 1.0 / (1.0 + np.exp(-given))
    powers = np.exp(given - given.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
