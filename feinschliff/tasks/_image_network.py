"""A staged image model with a linear head, run on batches of pixels. Knows no loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from feinschliff.engine.contracts import PrefixStage
from feinschliff.engine.images import ImageBatch
from feinschliff.models.heads import TokenHead
from feinschliff.models.keras_graph import KerasBody
from feinschliff.models.stages import StagedModule
from feinschliff.models.vision import Form

Augment = Callable[[Tensor], Tensor]


class ImageNetwork(nn.Module):
    """Images to logits [B, C]. Keeps :class:`feinschliff.engine.contracts.Network`."""

    pooling = None
    """How rows become vectors is part of the model."""

    def __init__(
        self, body: StagedModule | KerasBody, head: TokenHead, form: Form, augment: Augment | None = None
    ) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.shape = (len(form.mean), form.height, form.width)
        self._mean, self._std = (torch.tensor(values)[:, None, None] for values in (form.mean, form.std))
        self._augment = augment

    def made_up(self, rows: int) -> Tensor:
        """Noise in the shape and layout of images, for measuring."""
        return _laid_out(torch.randn(rows, *self.shape, generator=torch.Generator().manual_seed(0)))

    def depth_of(self, parameter_name: str) -> int:
        """See ``Network``."""
        if parameter_name.startswith("head."):
            return self.body.num_layers + 1
        return self.body.depth_of(parameter_name.removeprefix("body."))

    def frozen_prefix(self) -> PrefixStage | None:
        """See ``Network``. Images that are changed anew in each epoch have no outputs worth keeping."""
        trained = [self.depth_of(name) for name, p in self.named_parameters() if p.requires_grad]
        lowest = min(trained, default=self.body.num_layers + 1)
        if lowest <= 1 or self._augment is not None:
            return None
        names = tuple(name for name, _ in self.named_parameters() if self.depth_of(name) < lowest)
        return PrefixStage(lowest - 1, lowest > self.body.num_layers, names)

    def train(self, mode: bool = True) -> Self:
        """Training mode; in the body that switches on dropout in layers with trained parameters, and nothing else."""
        super().train(mode)
        for _, module in self.body.stage_modules():
            trained = mode and any(parameter.requires_grad for parameter in module.parameters())
            for part in module.modules():
                if isinstance(part, nn.Dropout):
                    part.train(trained)
        return self

    def forward(self, batch: ImageBatch) -> Tensor:
        """Logits [B, C] in the batch's order."""
        logits: Tensor = self.head(self.features(batch))
        return logits

    def features(self, batch: ImageBatch) -> Tensor:
        """Features [B, d], fp32; from the cached prefix where the batch carries one."""
        if batch.prefix is None:
            features: Tensor = self.body(self._images(batch))
        elif batch.prefix_pooled:
            features = batch.prefix
        else:
            shape_only = torch.zeros((), dtype=self._dtype).expand(len(batch.rows), *self.shape)
            stage = self.frozen_prefix()
            features = self.body(shape_only, _laid_out(batch.prefix), 0 if stage is None else stage.layers)
        return features.float()

    def run_prefix(self, batch: ImageBatch, stage: PrefixStage) -> Tensor:
        """See ``Network``."""
        if stage.pooled:
            return self.features(batch)
        states: Tensor = self.body(self._images(batch), stop=stage.layers)
        return states

    def _images(self, batch: ImageBatch) -> Tensor:
        """[B, c, h, w], normalised, in the precision of the body."""
        images = batch.pixels().float() / 255.0
        if self.training and self._augment is not None:
            images = self._augment(images)
        return _laid_out(((images - self._mean) / self._std).to(self._dtype))

    @property
    def _dtype(self) -> torch.dtype:
        return next(parameter.dtype for parameter in self.body.parameters())


def _laid_out(states: Tensor) -> Tensor:
    """Maps with their channels innermost: convolutions on a CPU are up to twice as fast."""
    return states.contiguous(memory_format=torch.channels_last) if states.ndim == 4 else states
