"""A staged image model with a linear head, run on batches of pixels. Knows no loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from feinschliff.engine.images import ImageBatch
from feinschliff.models.heads import TokenHead
from feinschliff.models.keras_graph import KerasBody
from feinschliff.models.stages import StagedModule
from feinschliff.models.vision import Form
from feinschliff.tasks._row_network import RowNetwork

Augment = Callable[[Tensor], Tensor]


class ImageNetwork(RowNetwork):
    """Images to logits [B, C]."""

    def __init__(
        self, body: StagedModule | KerasBody, head: TokenHead, form: Form, augment: Augment | None = None
    ) -> None:
        super().__init__(body, head, (len(form.mean), form.height, form.width))
        self._mean, self._std = (torch.tensor(values)[:, None, None] for values in (form.mean, form.std))
        self._augment = () if augment is None else (augment,)  # a module here would be trained as part of the network

    @property
    def caches(self) -> bool:
        """Images that are changed anew in each epoch have no outputs worth keeping."""
        return not self._augment

    def inputs(self, batch: ImageBatch) -> Tensor:
        """[B, c, h, w], normalised, in the precision of the body."""
        images = batch.pixels().float() / 255.0
        if self.training:
            for augment in self._augment:
                images = augment(images)
        return self.laid_out(((images - self._mean) / self._std).to(self.dtype))

    def laid_out(self, states: Tensor) -> Tensor:
        """Maps with their channels innermost: convolutions on a CPU are up to twice as fast.

        Keras has them there by itself.
        """
        if states.ndim != 4 or isinstance(self.body, KerasBody):
            return states
        return states.contiguous(memory_format=torch.channels_last)
