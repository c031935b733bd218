"""Image models of transformers as stages and features, and how images are brought to the size they want.

Any architecture that ``AutoModelForImageClassification`` loads and whose answer comes from a linear layer: that layer
is taken out, what it read are the features. Factories and Keras files come the same way. Knows no data, no head and no
loop.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from feinschliff.errors import ModelError
from feinschliff.models import factories, keras_files
from feinschliff.models.keras_graph import KerasBody
from feinschliff.models.keras_images import (
    KerasModel,
    StretchedForm,
    image_changes,
    image_form,
    load_keras,
    plain_probabilities,
    save_keras,
)
from feinschliff.models.load import quiet_transformers
from feinschliff.models.stages import StagedModule, features_of

Pixels = npt.NDArray[np.uint8]
FORM_TOLERANCE = 1e-3


class Form(Protocol):
    """How an image becomes what a model reads: pixels of 8 bit, then ``(x / 255 - mean) / std``."""

    @property
    def height(self) -> int:
        """In pixels."""
        ...

    @property
    def width(self) -> int:
        """In pixels."""
        ...

    @property
    def mean(self) -> tuple[float, ...]:
        """A colour."""
        ...

    @property
    def std(self) -> tuple[float, ...]:
        """A colour."""
        ...

    def pixels(self, image: Image.Image) -> Pixels:
        """RGB to [channels, height, width]; as many channels as ``mean`` has."""
        ...


@dataclass(slots=True)
class LoadedVision:
    """A body in fp32, how images come to it, and what is needed to write it again."""

    body: StagedModule | KerasBody
    form: Form
    classifier: str | None
    """Name of the linear layer that was taken out; None: there was none, features are the model's output."""
    weight_Cd: Tensor | None
    bias_C: Tensor | None
    """Of that layer."""
    announcements: list[str]
    factory: factories.Factory | None = None
    """What made the network, where a Python function did."""
    keras: KerasModel | None = None
    """Where it comes from, where that is a Keras file."""
    processor: Any = None
    max_length_tokens: int = 10**9
    """Images are never cut."""


class ProcessorForm:
    """A processor of transformers, asked for pixels of 8 bit; that its own numbers follow from them is checked."""

    def __init__(self, processor: Any, folder: Path) -> None:
        self._processor = processor
        self.mean = tuple(map(float, processor.image_mean)) if processor.do_normalize else (0.0,) * 3
        self.std = tuple(map(float, processor.image_std)) if processor.do_normalize else (1.0,) * 3
        probe = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
        image = Image.fromarray(probe)
        pixels = self.pixels(image)
        _, self.height, self.width = pixels.shape
        whole = np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0])
        ours = (pixels / 255.0 - np.reshape(self.mean, (3, 1, 1))) / np.reshape(self.std, (3, 1, 1))
        if whole.shape != ours.shape or float(np.abs(whole - ours).max()) > FORM_TOLERANCE:
            raise ModelError(
                "this model's image processor does more than resize, crop and normalise",
                where=str(folder / "preprocessor_config.json"),
                remedy="choose another image model",
            )

    def pixels(self, image: Image.Image) -> Pixels:
        """See ``Form``."""
        found = self._processor(images=image, do_rescale=False, do_normalize=False, return_tensors="np")
        return np.asarray(found["pixel_values"][0]).round().clip(0, 255).astype(np.uint8)


def load_vision(folder: Path) -> LoadedVision:
    """The image model of a folder: transformers', what a factory makes, or a Keras file.

    Raises:
        ModelError: it reads no images, cannot be loaded, or its answer does not come from a linear layer.
    """
    if factories.is_factory(folder):
        return _from_factory(folder)
    if keras_files.is_keras(folder):
        return _from_keras(folder)
    model, processor = _from_transformers(folder)
    loaded = _taken_apart(model, ProcessorForm(processor, folder), folder)
    loaded.processor = processor
    return loaded


def _from_factory(folder: Path) -> LoadedVision:
    factory = factories.read(folder)
    model = factories.build(factory, folder)
    if factory.labels is None:
        loaded = _taken_apart(model, factory.form(), folder)
    else:
        body = _staged(model.model, factory.form(), folder)
        weight, bias = (value.detach().clone() for value in (model.head.weight, model.head.bias))
        said = [_seen(body, factory.form())]
        loaded = LoadedVision(body, factory.form(), factory.classifier, weight, bias, said)
    loaded.factory = factory
    loaded.announcements.insert(0, f"Python code of {factory.factory} was imported: its name asked for it")
    return loaded


def _from_keras(folder: Path) -> LoadedVision:
    model = load_keras(folder)
    form, said = image_form(model)
    named = [*model.graph.said, *said] if model.facts.labels is None else said
    seen = f"{model.body.num_layers} layers below the classifier"
    weight, bias = model.weight_Cd, model.bias_C
    return LoadedVision(model.body, form, model.graph.classifier.name, weight, bias, [*named, seen], keras=model)


def _from_transformers(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    quiet_transformers()
    try:
        model = AutoModelForImageClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        said = (str(error).splitlines() or [""])[0][:300]
        unknown = said.startswith("Unrecognized configuration class")
        raise ModelError(
            f"the model in {folder} cannot be loaded as an image model",
            where=str(folder),
            why="transformers has no image classifier of its type" if unknown else said,
            remedy="name an image model, such as hf:google/vit-base-patch16-224, or a factory: "
            "python:package.module:function?weights=FILE (feinschliff models list)",
        ) from error
    return model.eval(), processor


def _taken_apart(model: nn.Module, form: Form, folder: Path) -> LoadedVision:
    """Model and classifier parted, the model cut into stages."""
    model.eval()
    name = _classifier(model, made_up(form, 2, 0))
    weight = bias = None
    if name is not None:
        linear: Any = model.get_submodule(name)
        weight = linear.weight.detach().clone()
        bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().clone()
        model.set_submodule(name, nn.Identity())
    body = _staged(model, form, folder)
    return LoadedVision(body, form, name, weight, bias, [_seen(body, form)])


def made_up(form: Form, rows: int, seed: int) -> Tensor:
    """Noise in the shape of images, [B, 3, height, width]."""
    return torch.randn(rows, 3, form.height, form.width, generator=torch.Generator().manual_seed(seed))


def _staged(model: nn.Module, form: Form, folder: Path) -> StagedModule:
    body = StagedModule(model, lambda rows, seed: made_up(form, rows, seed))
    if body.num_layers == 0:
        raise ModelError(
            f"the model in {folder} cannot be cut into layers",
            where="model.source",
            why="no part of it decides by its output alone what comes out in the end",
            remedy="choose another image model",
        )
    return body


def _seen(body: StagedModule, form: Form) -> str:
    return f"images are seen at {form.width} x {form.height} pixels, by {body.num_layers} layers above the embeddings"


@torch.no_grad()
def _classifier(model: nn.Module, images: Tensor) -> str | None:
    """The name of the linear layer whose output is the model's; None where there is none."""
    given: dict[str, Tensor] = {}
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear) and name]

    def kept(name: str) -> Any:
        return lambda _, __, output: given.update({name: output})

    hooks = [module.register_forward_hook(kept(name)) for name, module in linear]
    try:
        answer = features_of(model(images))
    finally:
        for hook in hooks:
            hook.remove()
    same = [name for name, output in given.items() if output.shape == answer.shape and torch.equal(output, answer)]
    return same[-1] if same else None


def whole_state(loaded: LoadedVision, weights: Mapping[str, Tensor], into: str | None) -> dict[str, Tensor]:
    """Weights and buffers in fp32 by the model's own names; the head's under ``into``, else left out."""
    start = "body.model."
    state = {name.removeprefix(start): value.detach() for name, value in weights.items() if name.startswith(start)}
    state = {**(loaded.body.buffers_fp32 if isinstance(loaded.body, StagedModule) else {}), **state}
    if into is not None:
        state |= {f"{into}.{part}": weights[f"head.linear.{part}"].detach().float() for part in ("weight", "bias")}
    return {name: value.contiguous() for name, value in state.items()}


def save_vision(
    loaded: LoadedVision, weights: Mapping[str, Tensor], label_names: Sequence[str], multi_label: bool, folder: Path
) -> None:
    """Write a network with ``body`` and a linear ``head`` as its ecosystem loads it, factories with code to load it."""
    if loaded.keras is not None and isinstance(loaded.form, StretchedForm):
        save_keras(loaded.keras, image_changes(loaded.keras, loaded.form, multi_label), weights, label_names, folder)
        return
    if loaded.factory is not None:
        factories.save(
            loaded.factory, loaded.classifier, whole_state(loaded, weights, factories.HEAD), label_names, folder
        )
        return
    from transformers import AutoModelForImageClassification

    plain: Any = loaded.body.model
    config = copy.deepcopy(plain.config)
    config.num_labels = len(label_names)
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}
    config.problem_type = "multi_label_classification" if multi_label else "single_label_classification"
    with torch.random.fork_rng():
        model = AutoModelForImageClassification.from_config(config)
    model.load_state_dict(whole_state(loaded, weights, loaded.classifier))
    model.eval().save_pretrained(folder)
    loaded.processor.save_pretrained(folder)


def plain_image_probabilities(folder: Path, images: Sequence[Image.Image], multi_label: bool) -> Tensor:
    """Probabilities [N, C] of a written folder, by transformers, by Keras, or by the code that lies in it."""
    if keras_files.is_keras(folder):
        return plain_probabilities(folder, images)
    logits = plain_image_logits(folder, images)
    return torch.sigmoid(logits) if multi_label else torch.softmax(logits, -1)


@torch.inference_mode()
def plain_image_logits(folder: Path, images: Sequence[Image.Image], batch_rows: int = 8) -> Tensor:
    """Logits [N, C] of a written folder, by transformers or by the code that lies in it."""
    if factories.is_factory(folder):
        logits: Tensor = factories.plain_logits(folder, images)
        return logits
    model, processor = _from_transformers(folder)
    parts = []
    for begin in range(0, len(images), batch_rows):
        given = processor(images=list(images[begin : begin + batch_rows]), return_tensors="pt")
        parts.append(model(given["pixel_values"]).logits.float())
    return torch.cat(parts)
