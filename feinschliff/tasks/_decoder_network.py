"""A decoder run on packed batches: states of the tokens whose next one is to be learned. Knows no loss."""

from __future__ import annotations

from itertools import chain
from typing import Self

from torch import Tensor, nn

from feinschliff.engine.batching import Batch
from feinschliff.engine.contracts import PrefixStage
from feinschliff.models.decoder import StagedDecoder


class DecoderNetwork(nn.Module):
    """Packed rows to states [T, d] after the last norm. Keeps :class:`engine.contracts.Network`.

    There is no new head: the projection onto the vocabulary is the model's own.
    """

    pooling = None
    """Rows never become one vector."""

    def __init__(self, body: StagedDecoder) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Identity()

    def depth_of(self, parameter_name: str) -> int:
        """See ``Network``."""
        return self.body.depth_of(parameter_name.removeprefix("body."))

    def frozen_prefix(self) -> PrefixStage | None:
        """See ``Network``. A lone frozen embedding table is no prefix worth keeping: looking it up is as cheap."""
        trained = [self.depth_of(name) for name, p in self.named_parameters() if p.requires_grad]
        lowest = min(trained, default=self.body.num_layers)
        if lowest <= 1:
            return None
        held = chain(self.named_parameters(), self.named_buffers())  # buffers: weights in fewer bits
        names = tuple(name for name, _ in held if self.depth_of(name) < lowest)
        return PrefixStage(lowest - 1, False, names)

    def train(self, mode: bool = True) -> Self:
        """Training mode, but parts without trained parameters never drop anything out."""
        super().train(mode)
        for layer in self.body.layers:
            if not any(parameter.requires_grad for parameter in layer.parameters()):
                layer.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        """States [T, d] in the batch's order, filling included; from the cached prefix where the batch carries one."""
        stage = None if batch.prefix is None else self.frozen_prefix()
        start = 0 if stage is None else stage.layers
        states: Tensor = self.body(batch.ids_T, batch.positions_T, batch.groups, hidden_Td=batch.prefix, start=start)
        return states

    def features(self, batch: Batch) -> Tensor:
        """States [T, d], fp32."""
        return self(batch).float()  # type: ignore[no-any-return]

    def run_prefix(self, batch: Batch, stage: PrefixStage) -> Tensor:
        """See ``Network``."""
        states: Tensor = self.body(batch.ids_T, batch.positions_T, batch.groups, stop=stage.layers)
        return states
