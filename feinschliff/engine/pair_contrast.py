"""Rows of one class drawn together, those of others apart, beside the task's loss. Knows a task by name.

A task joins by offering :class:`engine.mixup.MixableTask` over a network with pooled features and a head, and by saying
``MIXES_FEATURES = True`` and ``CLASSIFIES_ROWS = True`` in its light module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from feinschliff.engine.batching import Batch
from feinschliff.engine.contracts import LossOutput
from feinschliff.engine.mixup import MixableTask


@dataclass(slots=True)
class PairContrast:
    """``loss + weight * mean over pairs of (cosine - alike)^2``, pairs being those of the rows computed at once.

    The loss with which SetFit trains its encoder before it fits a head (Tunstall et al. 2022), here in the same pass as
    the head's. The loss that is shown is without it.
    """

    task: MixableTask
    weight: float
    partial_targets: bool = False

    def loss(self, network: Any, batch: Batch) -> LossOutput:
        """Summed loss of the rows, and the weighted contrast beside it.

        Raises:
            RuntimeError: the batch has no targets.
        """
        if batch.targets is None:
            raise RuntimeError("a batch without targets has no loss")
        features_Bd = network.features(batch)
        out = self.task.loss_of(network, network.head(features_Bd), batch)
        rows = out.num_targets / len(features_Bd)
        out.penalty = self.weight * rows * pair_loss(features_Bd, batch.targets)
        return out


def pair_loss(features_Bd: Tensor, targets: Tensor) -> Tensor:
    """For each row, half the mean error of its pairs with rows like it and half that of the others; summed over rows.

    Classes with few rows would otherwise lose their pairs among the many.

    Args:
        targets: class numbers [B], or indicators [B, C]: two sets of labels are alike by what they share of what they
            hold together (Jaccard 1901).
    """
    unit_Bd = F.normalize(features_Bd.float(), dim=1)
    alike_BB = likeness(targets)
    wrong_BB = (unit_Bd @ unit_Bd.T - alike_BB).square()
    others_BB = 1.0 - torch.eye(len(unit_Bd), device=unit_Bd.device)
    near_BB, far_BB = (alike_BB > 0) * others_BB, (alike_BB == 0) * others_BB
    means = [(wrong_BB * pairs).sum(1) / pairs.sum(1).clamp_min(1.0) for pairs in (near_BB, far_BB)]
    return 0.5 * (means[0] + means[1]).sum()


def likeness(targets: Tensor) -> Tensor:
    """[B, B] from 0 to 1."""
    if targets.ndim == 1:
        return (targets[:, None] == targets[None]).float()
    shared = targets.float() @ targets.float().T
    held = targets.float().sum(1)
    together = held[:, None] + held[None] - shared
    return torch.where(together > 0, shared / together.clamp_min(1.0), torch.ones_like(shared))
