"""What tasks share that read a text or a pair and answer from one vector a row. Knows no loss and no metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example
from feinschliff.engine import attention
from feinschliff.engine.batching import FORWARD_TOKENS, Batch
from feinschliff.engine.scoring import outputs
from feinschliff.models.heads import Head
from feinschliff.models.load import LoadedEncoder, load_encoder
from feinschliff.models.native import read_head
from feinschliff.tasks._loading import load_base
from feinschliff.tasks._sequence_network import SequenceNetwork
from feinschliff.tasks._task import EncodedSet, Floats, TaskContext, encoded
from feinschliff.tasks._text_table import text_table


def row_targets(encoded: EncodedSet) -> Tensor:
    """The targets of rows that have them.

    Raises:
        TypeError: these have none, or one a token.
    """
    if not isinstance(encoded.targets, Tensor):
        raise TypeError("rows without targets")
    return encoded.targets


class PooledTextTask:
    """Encoder, pooling and a linear head. A task says how many outputs there are and what the targets are."""

    per_token = False
    partial_targets = False
    long_rows = "rows are cut at"

    def __init__(self, config: Any, context: TaskContext) -> None:
        self.config = config
        self.context = context
        self.loaded: LoadedEncoder | None = None

    @property
    def num_outputs(self) -> int:
        """Width of the head."""
        raise NotImplementedError

    def targets_of(self, examples: Sequence[Example]) -> Tensor | None:
        """[N, ...]; None where a row has none."""
        raise NotImplementedError

    def load_model(self, model: ModelConfig, folder: Path) -> SequenceNetwork:
        """Encoder and head in fp32; the head is random until the engine has features to start it from.

        Raises:
            ModelError: the architecture cannot be loaded, or gives other numbers packed than row by row.
        """
        self.loaded = load_base(model, folder)
        head = Head(self.loaded.encoder.hidden_width, self.num_outputs, model.dropout)
        return SequenceNetwork(self.loaded.encoder, head, self.loaded.pooling)

    @torch.no_grad()
    def load_finished(self, folder: Path, pooling: str) -> SequenceNetwork:
        """The network of a folder that ``save_native`` wrote, without the block that stands for mean pooling."""
        self.loaded = load_encoder(folder, attention.NAME, pooling, drop_last_layer=pooling == "mean")
        encoder = self.loaded.encoder
        head = Head(encoder.hidden_width, self.num_outputs, 0.0)
        weight, bias = read_head(folder)
        head.linear.weight.copy_(weight)
        head.linear.bias.copy_(bias)
        return SequenceNetwork(encoder, head, self.loaded.pooling)

    @property
    def tokenizer(self) -> Any:
        """The base model's."""
        if self.loaded is None:
            raise RuntimeError("load_model comes before encode")
        return self.loaded.tokenizer

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedSet:
        """Tokens (special ones included), targets where all rows have them, and how many rows were cut."""
        table, num_cut = text_table(self.tokenizer, examples, self.context.num_texts, max_length_tokens)
        return EncodedSet(table, self.targets_of(examples), num_cut, examples)

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """What is kept of the outputs, [B, ...]."""
        raise NotImplementedError

    def own_outputs(
        self, network: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0
    ) -> Floats:
        """What :meth:`predict` gives, [N, ...]."""
        rows = encoded(self, examples, max_length_tokens, num_virtual_tokens)
        return outputs(self, network, rows.table, max_tokens=FORWARD_TOKENS)

    def exported(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As they are."""
        return dict(weights)

    def for_single_texts(self) -> Self:
        """The same task and tokenizer for one text a row: pairs are also embedded side by side."""
        single = type(self)(self.config, replace(self.context, num_texts=1))
        single.loaded = self.loaded
        return single
