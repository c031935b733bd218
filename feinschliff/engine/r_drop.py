"""Each batch twice with other dropout, and the two answers drawn together. Knows a task by three names.

A task joins by offering :class:`ComparablePasses` and saying ``COMPARES_PASSES = True`` in its light module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from feinschliff.engine.batching import Batch
from feinschliff.engine.contracts import LossOutput


class ComparablePasses(Protocol):
    """What R-Drop asks of a task."""

    def logits(self, network: Any, batch: Batch) -> Tensor:
        """One pass."""
        ...

    def loss_of(self, network: Any, logits: Tensor, batch: Batch) -> LossOutput:
        """The summed loss of a pass."""
        ...

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Symmetric divergence of two passes' distributions, summed over targets as the loss is."""
        ...


@dataclass(slots=True)
class RDrop:
    """``(loss_1 + loss_2) / 2 + alpha * (KL(p_1 | p_2) + KL(p_2 | p_1)) / 2`` a target (R-Drop, Liang et al. 2021).

    Both passes' targets are counted, so the loop's division gives that mean. The loss that is shown is without the
    divergence. Both passes are held at once: twice the memory of a micro batch.
    """

    task: ComparablePasses
    alpha: float
    partial_targets: bool = False

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Summed loss of both passes, and twice the weighted divergence beside it."""
        first, second = self.task.logits(network, batch), self.task.logits(network, batch)
        one, two = self.task.loss_of(network, first, batch), self.task.loss_of(network, second, batch)
        return LossOutput(
            one.loss_sum + two.loss_sum,
            one.num_targets + two.num_targets,
            penalty=2.0 * self.alpha * self.task.divergence(first, second),
        )
