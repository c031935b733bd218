"""Keras files as image models: how images come to them, written again with a new classifier, asked by Keras itself.

Knows no data and no loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from feinschliff.errors import ModelError
from feinschliff.models import keras_files, keras_folder
from feinschliff.models.keras_files import KerasFacts
from feinschliff.models.keras_graph import CHANNELS, Graph, KerasBody, channels_first, graph_of, with_classifier

SCALING = ("Rescaling", "Normalization", "TrueDivide", "Divide", "Multiply", "Subtract")
"""Operations that stand at the start of a model which takes pixels as they are."""
_UNSAID = "(other values: FILE.keras?range=-1..1, black..white)"


@dataclass(frozen=True, slots=True)
class StretchedForm:
    """Stretched to the model's size, grey where it has one channel. Keeps ``vision.Form``."""

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """One a channel."""

    def pixels(self, image: Image.Image) -> Any:
        """RGB to uint8 [channels, height, width]."""
        return keras_folder.pixels(image, self.height, self.width, len(self.mean))


@dataclass(slots=True)
class KerasModel:
    """A Keras file taken apart."""

    graph: Graph
    body: KerasBody
    facts: KerasFacts
    weight_Cd: Tensor | None
    bias_C: Tensor | None
    """Of its classifier, where that is a Dense on the features."""
    folder: Path


def load_keras(folder: Path) -> KerasModel:
    """The Keras model of a folder, taken apart.

    Raises:
        ModelError: Keras cannot load it, or there is nothing below its classifier.
    """
    facts = keras_files.read(folder)
    graph = graph_of(*keras_files.loaded(folder), facts.source)
    body = KerasBody(graph)
    if body.num_layers == 0:
        remedy = "there is nothing to fine-tune: fit a linear model anew"
        raise ModelError("the model has no layers below its classifier", where=facts.source, remedy=remedy)
    weight = bias = None
    if type(graph.classifier).__name__ == "Dense":
        kernel = graph.classifier.kernel.value.detach()
        weight = kernel.T.clone()
        bias = (
            torch.zeros(len(weight)) if graph.classifier.bias is None else graph.classifier.bias.value.detach().clone()
        )
    return KerasModel(graph, body, facts, weight, bias, folder)


def image_form(model: KerasModel) -> tuple[StretchedForm, list[str]]:
    """How images come to the model, and what was assumed.

    Raises:
        ModelError: it reads no images, or takes any size and none was said.
    """
    facts, shape = model.facts, model.graph.input_shape
    if len(shape) == 2 and _starts_with_pixels(model):
        shape = (*shape, 1)
    first = channels_first(shape)
    channels, height, width = shape if first else (shape[-1], *shape[:-1]) if len(shape) == 3 else (0, 0, 0)
    if channels not in CHANNELS:
        raise ModelError(
            f"the model reads rows of shape {' x '.join(map(str, model.graph.input_shape))}, not images",
            where=facts.source,
            why="images here are grey (height x width x 1) or in colours (height x width x 3)",
            remedy="lines of numbers: --task tabular_classification; else choose another model",
        )
    height, width = height or facts.size, width or facts.size
    if height is None or width is None:
        what = "the model takes images of any size"
        raise ModelError(what, where=facts.source, remedy="say one: FILE.keras?size=224")
    low, high, why = _range(model)
    form = StretchedForm(height, width, (-low / (high - low),) * channels, (1.0 / (high - low),) * channels)
    kind = "grey" if channels == 1 else "colour"
    said = f"images come in {kind}, stretched to {width} x {height} pixels, with values from {low:g} to {high:g}: {why}"
    return form, [said]


def _starts_with_pixels(model: KerasModel) -> bool:
    """Whether height x width without colours is a grey image, not a sequence: what reads it knows no order."""
    operation = next(model.graph.first_operations(), None)
    return type(operation).__name__ in ("Flatten", "Reshape", *SCALING)


def _range(model: KerasModel) -> tuple[float, float, str]:
    asked = model.facts.range
    if asked is not None:
        return (*asked, "as the folder says" if model.facts.labels else "as asked")
    scaling = [op.name for op in model.graph.first_operations() if type(op).__name__ in SCALING]
    if scaling:
        return 0.0, 255.0, f"the model scales them itself ({scaling[0]}) {_UNSAID}"
    return 0.0, 1.0, f"assumed, the model has no layer that scales them {_UNSAID}"


def save_keras(
    model: KerasModel, changes: Mapping[str, Any], weights: Mapping[str, Tensor], labels: Sequence[str], folder: Path
) -> None:
    """Write the model with trained weights (by the names of a network with ``body`` and ``head.linear``).

    Softmax (several labels: a sigmoid) stands at its end, unless the file it came from gave logits.

    Raises:
        OSError: the folder cannot be written.
    """
    fresh = load_keras(model.folder)
    values = {name: value.detach().float() for name, value in weights.items()}
    body = {name.removeprefix("body."): value for name, value in values.items() if name.startswith("body.")}
    probable = "sigmoid" if changes["multi_label"] else "softmax"
    activation = "linear" if fresh.graph.activation == "linear" else probable
    head = values["head.linear.weight"], values["head.linear.bias"]
    whole, name = with_classifier(fresh.graph, *head, activation, body)
    shape = tuple(size or model.facts.size for size in model.graph.input_shape)
    said = {"shape": shape, "activation": activation, "classifier": name, "source": Path(model.facts.source).name}
    keras_files.save(model.facts, whole, labels, {**said, **changes}, folder)


def image_changes(model: KerasModel, form: StretchedForm, multi_label: bool) -> dict[str, Any]:
    """What a written folder has to say so that images can be brought to it."""
    low, high, _ = _range(model)
    return {
        "range": (low, high),
        "height": form.height,
        "width": form.width,
        "channels": len(form.mean),
        "channels_first": channels_first(model.graph.input_shape),
        "multi_label": multi_label,
    }


def plain_probabilities(folder: Path, images: Sequence[Image.Image]) -> Tensor:
    """[N, C] by Keras's own ``predict`` and the code that lies in the folder."""
    keras = keras_files.library()
    with keras.device("cpu"):
        rows = np.stack([keras_folder.preprocess(image, folder) for image in images])
        return torch.from_numpy(keras_folder.outputs(folder, rows)).float()
