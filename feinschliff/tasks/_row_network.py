"""A staged model with a linear head whose rows are tensors of one shape. Knows no loss and not what rows are."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from feinschliff.engine.contracts import PrefixStage
from feinschliff.models.heads import TokenHead


class RowNetwork(nn.Module):
    """Rows to logits [B, C]. Keeps :class:`feinschliff.engine.contracts.Network`; what rows are, a subclass says."""

    pooling = None
    """How rows become vectors is part of the model."""

    def __init__(self, body: Any, head: TokenHead, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.shape = shape

    def inputs(self, batch: Any) -> Tensor:
        """[B, ...] as the body reads them, in its precision."""
        raise NotImplementedError

    def laid_out(self, states: Tensor) -> Tensor:
        """States of a layer in the layout in memory that the body is fast with."""
        return states

    @property
    def caches(self) -> bool:
        """Whether a row is the same in each epoch, so that outputs of frozen layers can be kept."""
        return True

    def made_up(self, rows: int) -> Tensor:
        """Noise in the shape and layout of rows, for measuring."""
        return self.laid_out(torch.randn(rows, *self.shape, generator=torch.Generator().manual_seed(0)))

    def depth_of(self, parameter_name: str) -> int:
        """See ``Network``."""
        if parameter_name.startswith("head."):
            return int(self.body.num_layers) + 1
        depth: int = self.body.depth_of(parameter_name.removeprefix("body."))
        return depth

    def frozen_prefix(self) -> PrefixStage | None:
        """See ``Network``."""
        trained = [self.depth_of(name) for name, p in self.named_parameters() if p.requires_grad]
        lowest = min(trained, default=self.body.num_layers + 1)
        if lowest <= 1 or not self.caches:
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

    def forward(self, batch: Any) -> Tensor:
        """Logits [B, C] in the batch's order."""
        logits: Tensor = self.head(self.features(batch))
        return logits

    def features(self, batch: Any) -> Tensor:
        """Features [B, d], fp32; from the cached prefix where the batch carries one."""
        if batch.prefix is None:
            features: Tensor = self.body(self.inputs(batch))
        elif batch.prefix_pooled:
            features = batch.prefix
        else:
            shape_only = torch.zeros((), dtype=self.dtype).expand(len(batch.rows), *self.shape)
            stage = self.frozen_prefix()
            features = self.body(shape_only, self.laid_out(batch.prefix), 0 if stage is None else stage.layers)
        return features.float()

    def run_prefix(self, batch: Any, stage: PrefixStage) -> Tensor:
        """See ``Network``."""
        if stage.pooled:
            return self.features(batch)
        states: Tensor = self.body(self.inputs(batch), stop=stage.layers)
        return states

    @property
    def dtype(self) -> torch.dtype:
        """Of the body."""
        dtype: torch.dtype = next(parameter.dtype for parameter in self.body.parameters())
        return dtype
