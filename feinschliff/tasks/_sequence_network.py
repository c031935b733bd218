"""A staged encoder with a head on rows or on tokens, run on batches: what text tasks train. Knows no loss."""

from __future__ import annotations

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from feinschliff.engine.batching import Batch
from feinschliff.engine.contracts import PrefixStage
from feinschliff.models.encoder import StagedEncoder
from feinschliff.models.heads import Head, Pooling, TokenHead, plain_pool, pool
from feinschliff.models.live_embedding import LiveEmbedding


class StagedNetwork(nn.Module):
    """What both share. Keeps :class:`feinschliff.engine.contracts.Network`, but for what is done above the body."""

    pooling: Pooling | None = None
    """How the states of a row become one vector; None: they do not."""

    def __init__(self, encoder: StagedEncoder, head: nn.Module) -> None:
        super().__init__()
        self.body = encoder
        self.head = head

    def depth_of(self, parameter_name: str) -> int:
        """See ``Network``."""
        if parameter_name.startswith("head."):
            return self.body.num_layers + 1
        return self.body.depth_of(parameter_name.removeprefix("body."))

    def frozen_prefix(self) -> PrefixStage | None:
        """See ``Network``. A lone frozen embedding table is no prefix worth keeping: looking it up is as cheap."""
        trained = [self.depth_of(name) for name, p in self.named_parameters() if p.requires_grad]
        lowest = min(trained, default=self.body.num_layers + 1)
        if lowest <= 1:
            return None
        names = tuple(name for name, _ in self.named_parameters() if self.depth_of(name) < lowest)
        pooled = self.pooling is not None and lowest > self.body.num_layers
        return PrefixStage(lowest - 1, pooled, names, str(self.pooling))

    def train(self, mode: bool = True) -> Self:
        """Training mode, but parts without trained parameters never drop anything: cached or not, they are the same."""
        super().train(mode)
        for part in (self.body.embeddings, *self.body.layers):
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    def states(self, batch: Batch) -> Tensor:
        """Hidden states [T, d] after the last layer; from the cached prefix where the batch carries one."""
        start = 0 if batch.prefix is None else self._stage_layers
        states: Tensor = self.body(
            batch.ids_T, batch.positions_T, batch.segments_T, batch.groups, hidden_Td=batch.prefix, start=start
        )
        return states

    @property
    def _stage_layers(self) -> int:
        stage = self.frozen_prefix()
        return 0 if stage is None else stage.layers

    def run_prefix(self, batch: Batch, stage: PrefixStage) -> Tensor:
        """See ``Network``."""
        states: Tensor = self.body(batch.ids_T, batch.positions_T, batch.segments_T, batch.groups, stop=stage.layers)
        return states

    def restrict_embeddings(self, embedding: LiveEmbedding) -> None:
        """Train only the rows of the token table that occur (see ``models.live_embedding``)."""
        self.body.model.set_input_embeddings(embedding)


class SequenceNetwork(StagedNetwork):
    """[rows of tokens] to logits [B, C]."""

    pooling: Pooling

    def __init__(self, encoder: StagedEncoder, head: Head, pooling: Pooling) -> None:
        super().__init__(encoder, head)
        self.pooling = pooling
        self._norm_epsilon: float = encoder.model.config.layer_norm_eps

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, C] in the batch's order."""
        logits: Tensor = self.head(self.features(batch))
        return logits

    def features(self, batch: Batch) -> Tensor:
        """Pooled features [B, d], fp32; from the cached prefix where the batch carries one."""
        if batch.prefix is not None and batch.prefix_pooled:
            return batch.prefix
        return pool(self.states(batch), batch.lengths_B, self.pooling, self._norm_epsilon)

    def run_prefix(self, batch: Batch, stage: PrefixStage) -> Tensor:
        """See ``Network``."""
        return self.features(batch) if stage.pooled else super().run_prefix(batch, stage)


class TokenNetwork(StagedNetwork):
    """[rows of tokens] to logits [T, C], one row of them a token, filling included."""

    def __init__(self, encoder: StagedEncoder, head: TokenHead) -> None:
        super().__init__(encoder, head)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [T, C] in the batch's order."""
        logits: Tensor = self.head(self.features(batch))
        return logits

    def features(self, batch: Batch) -> Tensor:
        """States [T, d], fp32."""
        return self.states(batch).float()


class EmbeddingNetwork(StagedNetwork):
    """[rows of tokens] to vectors [B, d] of length one. There is no head: nothing stands above the encoder."""

    pooling: Pooling

    def __init__(self, encoder: StagedEncoder, pooling: Pooling) -> None:
        super().__init__(encoder, nn.Identity())
        self.pooling = pooling

    def forward(self, batch: Batch) -> Tensor:
        """Vectors [B, d] in the batch's order."""
        return F.normalize(self.features(batch), dim=1)

    def features(self, batch: Batch) -> Tensor:
        """Pooled states [B, d], fp32, of any length; from the cached prefix where the batch carries one."""
        if batch.prefix is not None and batch.prefix_pooled:
            return batch.prefix
        return plain_pool(self.states(batch), batch.lengths_B, self.pooling)

    def run_prefix(self, batch: Batch, stage: PrefixStage) -> Tensor:
        """See ``Network``."""
        return self.features(batch) if stage.pooled else super().run_prefix(batch, stage)
