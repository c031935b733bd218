"""One optimizer step: micro batches, summed gradients, one division, clipping, update. Knows no task by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from feinschliff.config.training import TrainingConfig
from feinschliff.engine.adversarial import moved_along_gradient
from feinschliff.engine.anchoring import Anchor
from feinschliff.engine.averaging import AveragedWeights
from feinschliff.engine.batching import Ints, Targets, epoch_order, micro_batches
from feinschliff.engine.class_balance import Floats, balanced_order
from feinschliff.engine.contracts import Objective, Table
from feinschliff.engine.optimizers import GroupedAdamW
from feinschliff.engine.precision import MasterWeights
from feinschliff.engine.prefix_cache import PrefixCache


@dataclass(slots=True)
class Learner:
    """What a step needs, put together by the verb."""

    network: Any
    objective: Objective
    table: Table
    targets: Targets | None
    masters: MasterWeights
    optimizer: GroupedAdamW
    training: TrainingConfig
    cache: PrefixCache | None = None
    average: AveragedWeights | None = None
    """What is scored and kept instead of the masters."""
    embeddings: str | None = None
    """Name of the trained token embeddings, for adversarial steps."""
    anchor: Anchor | None = None
    """What holds weights near their start."""
    chances: Floats | None = None
    """How likely each row is to be drawn, where an epoch is not simply all rows."""

    @property
    def passes(self) -> int:
        """Forward and backward passes a step takes over its rows."""
        return 2 if self.training.adversarial_epsilon and self.embeddings is not None else 1

    def order(self, seed: int, epoch: int) -> Ints:
        """The rows of an epoch in their order: a function of seed and epoch, so a resumed run needs no state."""
        if self.chances is None:
            return epoch_order(len(self.table), seed, epoch)
        return balanced_order(self.chances, seed, epoch)


@dataclass(frozen=True, slots=True)
class StepLoss:
    """Summed loss, targets and tokens of one step."""

    loss_sum: float
    num_targets: float
    num_tokens: int


def backward(learner: Learner, rows: Ints) -> StepLoss:
    """Gradients of the summed loss over all micro batches of ``rows``, left on the masters."""
    loss_sum, num_targets, num_tokens = 0.0, 0.0, 0
    for part in micro_batches(rows, learner.table.lengths, learner.training.micro_batch_tokens):
        batch = learner.table.collate(part, learner.targets)
        if learner.cache is not None:
            learner.cache.attach(batch, learner.table)
        out = learner.objective.loss(learner.network, batch)
        torch.autograd.backward(out.loss_sum if out.penalty is None else out.loss_sum + out.penalty)
        learner.masters.collect_gradients()
        loss_sum += float(out.loss_sum.detach())
        num_targets += out.num_targets
        num_tokens += batch.num_tokens
    return StepLoss(loss_sum, num_targets, num_tokens)


@torch.no_grad()
def divide_and_clip(masters: list[Tensor], num_targets: float, max_grad_norm: float | None) -> float:
    """Divide summed gradients by the targets and scale them to the norm limit, in one pass. Returns the mean's norm."""
    grads = [master.grad for master in masters if master.grad is not None]
    scale, norm = 1.0 / num_targets, 0.0
    if max_grad_norm is not None:
        norms = torch._foreach_norm(grads)
        norm = float(torch.linalg.vector_norm(torch.stack(list(norms)))) * scale
        scale *= min(1.0, max_grad_norm / (norm + 1e-6))
    torch._foreach_mul_(grads, scale)
    return norm


def train_step(learner: Learner, rows: Ints, schedule_factor: float) -> StepLoss:
    """Gradients, division, clipping, AdamW, and the new weights given to the network. Returns the loss as it was."""
    loss = backward(learner, rows)
    num_targets = loss.num_targets
    if learner.embeddings is not None and learner.passes > 1:
        with moved_along_gradient(learner.masters, learner.embeddings, learner.training.adversarial_epsilon):
            num_targets += backward(learner, rows).num_targets
    if learner.anchor is not None and not learner.anchor.decoupled:
        learner.anchor.add_gradients(num_targets)
    divide_and_clip(learner.masters.masters, num_targets, learner.training.max_grad_norm)
    if learner.anchor is not None and learner.anchor.decoupled:
        learner.anchor.decay(learner.optimizer.rates(schedule_factor))
    learner.optimizer.step(schedule_factor)
    learner.masters.publish()
    return loss
