"""An encoder-decoder run on padded batches of sources and targets. Knows no loss."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from feinschliff.engine.contracts import PrefixStage
from feinschliff.engine.source_targets import PairedBatch, padded
from feinschliff.models.encoder_decoder import StagedEncoderDecoder


class EncoderDecoderNetwork(nn.Module):
    """Sources and targets to logits [T, V] of the target tokens. Keeps :class:`engine.contracts.Network`.

    There is no new head: the projection onto the vocabulary is the model's own and counts to its last layer.
    """

    pooling = None
    """Rows never become one vector."""

    def __init__(self, body: StagedEncoderDecoder) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Identity()

    def depth_of(self, parameter_name: str) -> int:
        """See ``Network``."""
        return self.body.depth_of(parameter_name.removeprefix("body."))

    def frozen_prefix(self) -> PrefixStage | None:
        """See ``Network``: the whole encoder where nothing in or below it is trained, or None."""
        trained = [self.depth_of(name) for name, p in self.named_parameters() if p.requires_grad]
        layers = self.body.num_encoder_layers
        if min(trained, default=self.body.num_layers) <= layers:
            return None
        return PrefixStage(
            layers, False, tuple(name for name, _ in self.named_parameters() if self.depth_of(name) <= layers)
        )

    def train(self, mode: bool = True) -> Self:
        """Training mode, but parts without trained parameters never drop anything out."""
        super().train(mode)
        if mode:
            for module in self.body.modules():
                parameters = list(module.parameters())
                if parameters and not any(parameter.requires_grad for parameter in parameters):
                    module.eval()
        return self

    def forward(self, batch: PairedBatch) -> Tensor:
        """Logits [T, V], fp32, of all target tokens in the batch's order."""
        return self._decoded(batch)[1].float()

    def features(self, batch: PairedBatch) -> Tensor:
        """States [T, d], fp32, that the logits are made of."""
        return self._decoded(batch)[0].float()

    def _decoded(self, batch: PairedBatch) -> tuple[Tensor, Tensor]:
        states_BSd, real_BS = self._read(batch)
        return self.body.logits(states_BSd, real_BS, *batch.written())

    def logits_and_written(
        self, batch: PairedBatch, num_beams: int, max_new_tokens: int
    ) -> tuple[Tensor | None, Tensor]:
        """Logits [T, V] of the targets where there are any, and the token ids [B, L] that the network writes."""
        states_BSd, real_BS = self._read(batch)
        logits = None
        if batch.targets is not None and len(batch.targets):
            logits = self.body.logits(states_BSd, real_BS, *batch.written())[1].float()
        return logits, self.body.write(states_BSd, real_BS, num_beams, max_new_tokens)

    def _read(self, batch: PairedBatch) -> tuple[Tensor, Tensor]:
        ids_BS, real_BS = batch.sources()
        if batch.prefix is not None:
            return padded(batch.prefix, real_BS, 0.0), real_BS
        return self.body.read(ids_BS, real_BS), real_BS

    def run_prefix(self, batch: PairedBatch, stage: PrefixStage) -> Tensor:
        """See ``Network``: the encoder's states of all source tokens, end to end."""
        ids_BS, real_BS = batch.sources()
        states: Tensor = self.body.read(ids_BS, real_BS)[real_BS]
        return states
