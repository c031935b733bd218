"""Image classification: one label or several. Knows no method, no file format and no loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example
from feinschliff.engine.batching import FORWARD_TOKENS
from feinschliff.engine.scoring import outputs
from feinschliff.errors import ModelError
from feinschliff.models.heads import TokenHead
from feinschliff.models.plain import Complete
from feinschliff.models.vision import LoadedVision, load_vision, plain_image_probabilities, save_vision
from feinschliff.tasks._augmentation import augmentation
from feinschliff.tasks._classification import Classification
from feinschliff.tasks._image_network import ImageNetwork
from feinschliff.tasks._image_table import image_of, image_table
from feinschliff.tasks._task import EncodedSet, ExportedAsTrained, Floats, TaskContext


class ImageClassification(ExportedAsTrained, Classification):
    """Keeps :class:`feinschliff.tasks._task.Task`."""

    per_token = False
    partial_targets = False

    def __init__(self, config: Any, context: TaskContext) -> None:
        self.config = config
        self.context = context
        self.loaded: LoadedVision | None = None

    def load_model(self, model: ModelConfig, folder: Path) -> ImageNetwork:
        """The image model with a new head, in fp32.

        Raises:
            ModelError: it reads no images, or its parts cannot be told apart.
        """
        self.loaded = loaded = load_vision(folder)
        for module in loaded.body.modules():
            if isinstance(module, nn.Dropout):
                module.p = model.dropout
        if model.dropout and loaded.keras is not None:
            loaded.announcements.append("dropout acts on the features below the head: Keras's own layers stay off")
        augment = augmentation(self.config.augmentation, loaded.form.height, loaded.form.width)
        if augment is not None:
            said = f"augmentation {self.config.augmentation}: outputs of frozen layers are not kept"
            loaded.announcements.append(said)
        head = TokenHead(loaded.body.hidden_width, self.num_outputs, model.dropout)
        return ImageNetwork(loaded.body, head, loaded.form, augment)

    @torch.no_grad()
    def load_finished(self, folder: Path, pooling: str) -> ImageNetwork:
        """The network of a folder that ``save_native`` wrote."""
        self.loaded = loaded = load_vision(folder)
        if loaded.weight_Cd is None or loaded.bias_C is None:
            raise ModelError("the folder has no classifier", where=str(folder))
        head = TokenHead(loaded.body.hidden_width, self.num_outputs, 0.0)
        head.linear.weight.copy_(loaded.weight_Cd)
        head.linear.bias.copy_(loaded.bias_C)
        return ImageNetwork(loaded.body, head, loaded.form)

    def _vision(self) -> LoadedVision:
        if self.loaded is None:
            raise RuntimeError("load_model comes first")
        return self.loaded

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedSet:
        """Pixels, and targets where all rows have them. Images are never cut."""
        return EncodedSet(image_table(examples, self._vision().form), self.targets_of(examples), 0, examples)

    def save_native(self, network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write the model with its classifier, as transformers loads it, or with the code that loads it."""
        save_vision(self._vision(), weights, self.context.label_names, self.context.multi_label, folder)

    def plain_outputs(
        self, folder: Path, examples: Sequence[Example], complete: Complete = lambda model: model
    ) -> Floats:
        """Probabilities [N, C] of the folder as others load it, its own way of bringing images to size included."""
        images = [image_of(example) for example in examples]
        return plain_image_probabilities(folder, images, self.context.multi_label).detach().numpy()

    def own_outputs(
        self, network: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0
    ) -> Floats:
        """What :meth:`predict` gives, [N, C]."""
        rows = self.encode(examples, max_length_tokens)
        return outputs(self, network, rows.table, max_tokens=FORWARD_TOKENS)
