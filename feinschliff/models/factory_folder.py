"""An image model of a Python function: made, filled with weights, asked. Needs torch, numpy, Pillow, safetensors.

A copy lies beside saved weights as ``load_model.py``:

    model = load("folder")                      # imports the package that factory.json names: it must be installed
    scores = model(preprocess(image, "folder")[None]).softmax(-1)
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

HEAD = "head"


class Whole(nn.Module):
    """The network without its classifier, and a linear one on its features [B, d]."""

    def __init__(self, model: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] to logits [B, C]; maps are averaged over their places."""
        features = self.model(images)
        logits: Tensor = self.head(features.flatten(2).mean(2) if features.ndim > 2 else features)
        return logits


def made(facts: dict[str, Any]) -> nn.Module:
    """What the function ``package.module:name`` gives for its arguments."""
    module, _, name = facts["factory"].partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    model: nn.Module = found(**facts["arguments"])
    return model


def load(folder: str | Path) -> nn.Module:
    """The trained model, ready to answer."""
    facts = json.loads((Path(folder) / "factory.json").read_text(encoding="utf-8"))
    state = load_file(Path(folder) / "model.safetensors")
    model = made(facts)
    if facts.get("labels") is None:
        model.load_state_dict(state)
        return model.eval()
    if facts["classifier"] is not None:
        model.set_submodule(facts["classifier"], nn.Identity())
    num_classes, width = state[f"{HEAD}.weight"].shape
    whole = Whole(model, width, num_classes)
    whole.load_state_dict({name if name.startswith(f"{HEAD}.") else f"model.{name}": v for name, v in state.items()})
    return whole.eval()


def pixels(image: Image.Image, size: int) -> Any:
    """RGB to uint8 [3, size, size]: scaled and cut in the middle to a square."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    cut = resized.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(cut, dtype=np.uint8).transpose(2, 0, 1))


def preprocess(image: Image.Image, folder: str | Path) -> Tensor:
    """An image as the model reads it, [3, size, size]."""
    facts = json.loads((Path(folder) / "factory.json").read_text(encoding="utf-8"))
    mean, std = (torch.tensor(facts[name])[:, None, None] for name in ("mean", "std"))
    return (torch.from_numpy(pixels(image, facts["size"])).float() / 255.0 - mean) / std
