"""Classification of rows of numbers by a Keras model. Knows no method, no file format and no loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example
from feinschliff.engine.batching import FORWARD_TOKENS
from feinschliff.engine.scoring import outputs
from feinschliff.engine.vectors import VectorTable
from feinschliff.errors import ModelError
from feinschliff.models.heads import TokenHead
from feinschliff.models.keras_images import KerasModel, save_keras
from feinschliff.models.keras_tables import load_table_model, plain_table_probabilities
from feinschliff.models.plain import Complete
from feinschliff.tasks._classification import Classification
from feinschliff.tasks._task import EncodedSet, Floats, TaskContext
from feinschliff.tasks._vector_network import VectorNetwork


@dataclass(slots=True)
class LoadedTableModel:
    """A model of rows of numbers, and what was assumed of it."""

    keras: KerasModel
    announcements: list[str]
    max_length_tokens: int = 10**9
    """Rows are never cut."""


class TabularClassification(Classification):
    """Keeps :class:`feinschliff.tasks._task.Task`."""

    per_token = False
    partial_targets = False

    def __init__(self, config: Any, context: TaskContext) -> None:
        self.config = config
        self.context = context
        self.loaded: LoadedTableModel | None = None

    def load_model(self, model: ModelConfig, folder: Path) -> VectorNetwork:
        """The model with a new head, in fp32.

        Raises:
            ModelError: it is no Keras model of as many numbers as the rows have.
        """
        keras, said = load_table_model(folder, self.context.number_names)
        if model.dropout:
            said.append("dropout acts on the features below the head: Keras's own layers stay off")
        self.loaded = LoadedTableModel(keras, said)
        head = TokenHead(keras.body.hidden_width, self.num_outputs, model.dropout)
        return VectorNetwork(keras.body, head, (len(self.context.number_names),))

    @torch.no_grad()
    def load_finished(self, folder: Path, pooling: str) -> VectorNetwork:
        """The network of a folder that ``save_native`` wrote."""
        keras, said = load_table_model(folder, self.context.number_names)
        if keras.weight_Cd is None or keras.bias_C is None:
            raise ModelError("the folder has no classifier", where=str(folder))
        self.loaded = LoadedTableModel(keras, said)
        head = TokenHead(keras.body.hidden_width, self.num_outputs, 0.0)
        head.linear.weight.copy_(keras.weight_Cd)
        head.linear.bias.copy_(keras.bias_C)
        return VectorNetwork(keras.body, head, (len(self.context.number_names),))

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedSet:
        """Numbers, and targets where all rows have them."""
        values = torch.from_numpy(_numbers(examples))
        return EncodedSet(VectorTable(values), self.targets_of(examples), 0, examples)

    def save_native(self, network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write the model with its classifier as Keras loads it."""
        if self.loaded is None:
            raise RuntimeError("load_model comes first")
        said = {"multi_label": self.context.multi_label, "columns": self.context.number_names}
        save_keras(self.loaded.keras, said, weights, self.context.label_names, folder)

    def plain_outputs(
        self, folder: Path, examples: Sequence[Example], complete: Complete = lambda model: model
    ) -> Floats:
        """Probabilities [N, C] of the folder as Keras gives them."""
        found: Floats = plain_table_probabilities(folder, _numbers(examples)).numpy()
        return found

    def own_outputs(
        self, network: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0
    ) -> Floats:
        """What :meth:`predict` gives, [N, C]."""
        rows = self.encode(examples, max_length_tokens)
        return outputs(self, network, rows.table, max_tokens=FORWARD_TOKENS)


def _numbers(examples: Sequence[Example]) -> Floats:
    """[N, n]."""
    return np.array([example.numbers for example in examples], dtype=np.float32)
