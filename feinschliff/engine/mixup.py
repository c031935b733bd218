"""Rows mixed in pairs, features and labels alike. Knows a task and its network by the names below.

A task joins by offering :class:`MixableTask` over a network with pooled features and a head, and by saying
``MIXES_FEATURES = True`` in its light module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from feinschliff.engine.batching import Batch
from feinschliff.engine.contracts import LossOutput


class MixableTask(Protocol):
    """What mixup asks of a task; of its network, ``features(batch)`` [B, d] and ``head``."""

    def loss_of(self, network: Any, logits: Tensor, batch: Batch) -> LossOutput:
        """The summed loss of logits [B, C]."""
        ...


@dataclass(slots=True)
class Mixup:
    """``x = s x_i + (1 - s) x_j`` with ``loss = s loss(x, y_i) + (1 - s) loss(x, y_j)``, ``s ~ Beta(alpha, alpha)``.

    Mixup (Zhang et al. 2018) on pooled features, where a mixture of texts has a meaning (sentence-level Mixup, Guo et
    al. 2019). One share for all rows computed at once, paired by a random permutation of them.
    """

    task: MixableTask
    alpha: float
    partial_targets: bool = False

    def loss(self, network: Any, batch: Batch) -> LossOutput:
        """Summed loss of the mixtures.

        Raises:
            RuntimeError: the batch has no targets.
        """
        if batch.targets is None:
            raise RuntimeError("a batch without targets has no loss")
        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        features_Bd = network.features(batch)
        partner = torch.randperm(len(features_Bd))
        logits = network.head(torch.lerp(features_Bd[partner], features_Bd, share))
        own = self.task.loss_of(network, logits, batch)
        other = self.task.loss_of(network, logits, replace(batch, targets=batch.targets[partner]))
        return LossOutput(
            share * own.loss_sum + (1.0 - share) * other.loss_sum,
            share * own.num_targets + (1.0 - share) * other.num_targets,
        )
