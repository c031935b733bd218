"""What tasks share that answer from one vector a token: the encoder with a head on tokens, made and loaded again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from feinschliff.config.model import ModelConfig
from feinschliff.engine import attention
from feinschliff.models.heads import TokenHead
from feinschliff.models.load import LoadedEncoder, load_encoder
from feinschliff.models.native import read_head
from feinschliff.tasks._loading import load_base
from feinschliff.tasks._sequence_network import TokenNetwork


class TokenTask(ABC):
    """Texts are read in windows that overlap."""

    partial_targets = False
    long_rows = "longer texts are read in windows of"
    loaded: LoadedEncoder | None = None

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Of the head, a token."""
        ...

    def load_model(self, model: ModelConfig, folder: Path) -> TokenNetwork:
        """Encoder and head in fp32; the head is random until the engine has features to start it from.

        Raises:
            ModelError: the architecture cannot be loaded, or gives other numbers packed than row by row.
        """
        self.loaded = load_base(model, folder)
        head = TokenHead(self.loaded.encoder.hidden_width, self.num_outputs, model.dropout)
        return TokenNetwork(self.loaded.encoder, head)

    @torch.no_grad()
    def load_finished(self, folder: Path, pooling: str | None) -> TokenNetwork:
        """The network of a folder that ``save_native`` wrote."""
        self.loaded = load_encoder(folder, attention.NAME)
        head = TokenHead(self.loaded.encoder.hidden_width, self.num_outputs, 0.0)
        weight, bias = read_head(folder, squashed=False)
        head.linear.weight.copy_(weight)
        head.linear.bias.copy_(bias)
        return TokenNetwork(self.loaded.encoder, head)

    @property
    def tokenizer(self) -> Any:
        """The base model's."""
        if self.loaded is None:
            raise RuntimeError("load_model comes before encode")
        return self.loaded.tokenizer

    def exported(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As they are."""
        return dict(weights)
