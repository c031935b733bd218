"""The protocol every task keeps, and what a task is told. Knows no method and no member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example
from feinschliff.engine.batching import Batch, TokenTable
from feinschliff.engine.contracts import LossOutput
from feinschliff.engine.virtual_tokens import with_virtual_tokens

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What the data says about the task."""

    label_names: tuple[str, ...]
    multi_label: bool
    num_texts: int
    """1, or 2 for pairs."""
    label_smoothing: float = 0.0


@dataclass(slots=True)
class EncodedSet:
    """A set of examples as tokens and targets, with what was cut."""

    table: TokenTable
    targets: Tensor | None
    num_cut: int
    """Rows longer than the limit, whose end is not seen."""


def encoded(task: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0) -> EncodedSet:
    """Examples as at most ``max_length_tokens`` tokens a row, behind the places of a method's virtual tokens."""
    found: EncodedSet = task.encode(examples, max_length_tokens)
    return replace(found, table=with_virtual_tokens(found.table, num_virtual_tokens))


class Task(Protocol):
    """What is learned, from text to scores."""

    def load_model(self, model: ModelConfig, folder: Path) -> nn.Module:
        """Base model with a head, in fp32."""
        ...

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedSet:
        """Examples to tokens and targets. Call after :meth:`load_model`."""
        ...

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Summed loss."""
        ...

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Probabilities [B, C]."""
        ...

    def score(self, probabilities: Floats, targets: Tensor, metric: str) -> float:
        """One metric by name on [N, C] probabilities."""
        ...

    def save_native(self, network: nn.Module, weights: dict[str, Tensor], folder: Path) -> Any:
        """Write a folder that the ecosystem loads."""
        ...
