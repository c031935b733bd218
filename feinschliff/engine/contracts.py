"""What the loop asks of a network and of a task: the only names by which it knows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt
from torch import Tensor, nn

from feinschliff.engine.batching import Batch, Ints, Targets


@dataclass(slots=True)
class LossOutput:
    """A loss summed over targets, never a mean: the loop divides once, over micro batches and ranks."""

    loss_sum: Tensor
    num_targets: float
    """A count, or a sum of weights where targets are weighted."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    penalty: Tensor | None = None
    """Learned from beside the loss and divided with it, but no part of the loss that is shown."""


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a rate and a decay, by name."""

    names: tuple[str, ...]
    learning_rate_factor: float
    weight_decay: float


@dataclass(frozen=True, slots=True)
class PrefixStage:
    """Where the frozen prefix of a network ends. ``pooled``: everything below the head, one vector a row."""

    layers: int
    pooled: bool
    parameter_names: tuple[str, ...]
    """The frozen parameters it depends on, and buffers that hold weights."""
    pooling: str = ""
    """How states become one vector, where ``pooled``."""

    def __str__(self) -> str:
        return "everything below the head" if self.pooled else f"embeddings and the lowest {self.layers} layers"


class Table(Protocol):
    """All rows of a set as a network takes them in. ``engine.batching.TokenTable`` is the one of texts."""

    @property
    def lengths(self) -> Ints:
        """What each row costs [num_rows], in tokens."""
        ...

    def __len__(self) -> int: ...

    def collate(self, rows: Ints, targets: Targets | None = None, num_targets: int | None = None) -> Batch:
        """The batch of some rows, in the order the table likes; ``Batch.rows`` says which."""
        ...

    def num_places(self, pooled: bool) -> int:
        """How many outputs of a frozen prefix all rows have."""
        ...

    def places(self, batch: Batch, pooled: bool) -> Tensor:
        """Where those of a batch's rows stand among them."""
        ...

    def arrays(self) -> Iterator[npt.NDArray[Any] | None]:
        """Everything that outputs depend on, for hashing."""
        ...


class Network(Protocol):
    """A base model with a head, run on packed batches."""

    body: nn.Module
    """The part computed in the chosen precision; the rest stays fp32."""

    def depth_of(self, parameter_name: str) -> int:
        """0 for embeddings, 1 to n for layers from the lowest, n + 1 for the head."""
        ...

    def frozen_prefix(self) -> PrefixStage | None:
        """The longest run of lowest stages without trained parameters."""
        ...

    def run_prefix(self, batch: Batch, stage: PrefixStage) -> Tensor:
        """Outputs of the prefix: [T, d], or [B, d] where ``stage.pooled``."""
        ...


class Objective(Protocol):
    """What a task gives the loop."""

    partial_targets: bool
    """Whether a row of several targets may lack some (as NaN)."""

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Summed loss of a batch."""
        ...


class CoupledObjective(ABC):
    """An objective whose loss compares rows with each other, so that it belongs to a whole global batch.

    The step asks for the outputs of all micro batches, then for their loss, and sends its gradient back micro batch by
    micro batch (see ``step.coupled_backward``): memory is that of one, whatever the global batch.
    """

    @abstractmethod
    def embed(self, network: nn.Module, batch: Batch) -> Tensor:
        """[B, d]: all of the network's outputs that the loss depends on, in the batch's order."""

    @abstractmethod
    def coupled_loss(self, outputs_Bd: Tensor, batch: Batch) -> LossOutput:
        """Summed loss of a global batch from its outputs, which are in the order of ``batch``."""
