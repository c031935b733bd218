"""What every method offers the loop, with the behaviour of the plainest one. Knows no task.

A method decides which parameters have ``requires_grad``; everything else follows from that: the optimizer's groups, the
frozen prefix and its cache, what a checkpoint holds. Torch is imported where it is used: methods'
configurations are read before any work, and must be light.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from feinschliff.config.training import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from feinschliff.engine.contracts import ParameterGroup


class Staged(Protocol):
    """What a method may ask of a network."""

    body: Any

    def depth_of(self, parameter_name: str) -> int:
        """See ``engine.contracts.Network``."""
        ...


class Method:
    """Base of all methods."""

    default_learning_rate = 1e-4

    def __init__(self, config: Any) -> None:
        self.config = config

    def adapt(self, network: nn.Module) -> nn.Module:
        """Mark what is trained (and add what has to be added)."""
        return network

    def parameter_groups(self, network: Any, training: TrainingConfig) -> list[ParameterGroup]:
        """Trained parameters with their rates: the head faster, lower layers slower, as the configuration says."""
        from feinschliff.engine.optimizers import layer_wise_groups

        shapes = [(name, p.ndim) for name, p in network.named_parameters() if p.requires_grad]
        return layer_wise_groups(shapes, network.depth_of, training)

    def start_epoch(self, network: nn.Module, epoch: int) -> None:
        """Called before each epoch; nothing changes by default."""

    @contextmanager
    def reference(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network as it was before training, where a method can switch itself off; here it cannot differ."""
        yield network

    def merged_weights(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Trained ``weights`` as values of the base network's own parameters, by name."""
        return weights
