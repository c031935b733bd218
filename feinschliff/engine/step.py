"""One optimizer step: micro batches, summed gradients, one division, clipping, update. Knows no task by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feinschliff.config.training import TrainingConfig
from feinschliff.engine.adversarial import moved_along_gradient
from feinschliff.engine.anchoring import Anchor
from feinschliff.engine.averaging import AveragedWeights
from feinschliff.engine.batching import Batch, Ints, Targets, epoch_order, micro_batches
from feinschliff.engine.class_balance import Floats, balanced_order
from feinschliff.engine.contracts import CoupledObjective, Objective, Table
from feinschliff.engine.devices import device_of, on
from feinschliff.engine.optimizers import GroupedAdamW
from feinschliff.engine.precision import MasterWeights
from feinschliff.engine.prefix_cache import PrefixCache
from feinschliff.engine.ranks import ALONE, Ranks
from feinschliff.engine.seeds import random_states, restore_random_states


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
    ranks: Ranks = ALONE
    """The processes that share each global batch."""

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
    if isinstance(learner.objective, CoupledObjective):
        return coupled_backward(learner, learner.objective, rows)
    loss_sum, num_targets, num_tokens = 0.0, 0.0, 0
    parts = list(micro_batches(rows, learner.table.lengths, learner.training.micro_batch_tokens))
    # Asked before the first pass: a process that asks later would wait for others that wait for its pieces of weights.
    most = len(parts) if learner.masters.shards is None else learner.ranks.most(len(parts))
    for part in parts:
        batch = _batch(learner, part)
        out = learner.objective.loss(learner.network, batch)
        torch.autograd.backward(out.loss_sum if out.penalty is None else out.loss_sum + out.penalty)
        learner.masters.collect_gradients()
        loss_sum += float(out.loss_sum.detach())
        num_targets += out.num_targets
        num_tokens += batch.num_tokens
    _keep_pace(learner, parts, most)
    return StepLoss(loss_sum, num_targets, num_tokens)


def _keep_pace(learner: Learner, parts: list[Ints], most: int) -> None:
    """Passes that count nothing, until all processes have made as many: each needs the others' pieces of weights."""
    row = parts[0][:1] if parts else np.zeros(1, dtype=np.int64)
    for _ in range(most - len(parts)):
        torch.autograd.backward(learner.objective.loss(learner.network, _batch(learner, row)).loss_sum * 0.0)
        learner.masters.collect_gradients()


def coupled_backward(learner: Learner, objective: CoupledObjective, rows: Ints) -> StepLoss:
    """The same where the loss compares rows with each other: cached gradients (Gao et al. 2021).

    All micro batches are computed without gradients, then the gradient of the loss at their outputs, then each micro
    batch again, from the same random state so that dropout draws the same masks, and that gradient is sent through it.
    A single micro batch is computed once.
    """
    network, parts = (
        learner.network,
        list(micro_batches(rows, learner.table.lengths, learner.training.micro_batch_tokens)),
    )
    if len(parts) == 1:
        whole = _batch(learner, parts[0])
        out = objective.coupled_loss(objective.embed(network, whole), whole)
        torch.autograd.backward(out.loss_sum)
        learner.masters.collect_gradients()
        return StepLoss(float(out.loss_sum.detach()), out.num_targets, whole.num_tokens)
    whole = on(learner.table.collate(rows, learner.targets), device_of(network))
    states, found, numbers = [], [], []
    with torch.no_grad():
        for part in parts:
            batch = _batch(learner, part)
            states.append(random_states())
            found.append(objective.embed(network, batch))
            numbers.append(batch.rows)
    places = _places(torch.cat(numbers), whole.rows)
    outputs_Bd = torch.cat(found)[places].requires_grad_()
    out = objective.coupled_loss(outputs_Bd, whole)
    gradient_Bd = torch.empty_like(outputs_Bd)
    gradient_Bd[places] = torch.autograd.grad(out.loss_sum, outputs_Bd)[0]
    for part, state, gradient in zip(parts, states, torch.split(gradient_Bd, [len(n) for n in numbers]), strict=True):
        restore_random_states(state)
        torch.autograd.backward(objective.embed(network, _batch(learner, part)), gradient)
        learner.masters.collect_gradients()
    return StepLoss(float(out.loss_sum.detach()), out.num_targets, whole.num_tokens)


def _batch(learner: Learner, rows: Ints) -> Batch:
    batch = learner.table.collate(rows, learner.targets)
    if learner.cache is not None:
        learner.cache.attach(batch, learner.table)
    return on(batch, device_of(learner.network))


def _places(numbers: Tensor, wanted: Tensor) -> Tensor:
    """Where each of ``wanted`` stands among ``numbers``, which are distinct."""
    order = torch.argsort(numbers)
    return order[torch.searchsorted(numbers[order], wanted)]


@torch.no_grad()
def divide_and_clip(
    masters: list[Tensor], num_targets: float, max_grad_norm: float | None, among: Ranks = ALONE
) -> float:
    """Divide summed gradients by the targets and scale them to the norm limit, in one pass. Returns the mean's norm.

    ``among`` are the processes that hold a piece of each gradient.
    """
    grads = [master.grad for master in masters if master.grad is not None]
    scale, norm = 1.0 / num_targets, 0.0
    if max_grad_norm is not None:
        norms = torch._foreach_norm(grads)
        norm = float(torch.linalg.vector_norm(torch.stack(list(norms))))
        if among.count > 1:
            norm = math.sqrt(among.total(norm * norm)[0])
        norm *= scale
        scale *= min(1.0, max_grad_norm / (norm + 1e-6))
    torch._foreach_mul_(grads, scale)
    return norm


def _over_all(learner: Learner, loss: StepLoss, num_targets: float) -> tuple[StepLoss, float]:
    """Gradients, losses and targets summed over all processes; one without rows adds nothing.

    What has a gradient in none of them keeps none: AdamW steps over it, as with one process.
    """
    masters = learner.masters.masters
    learned = learner.ranks.total(*(float(master.grad is not None) for master in masters))
    for master, processes in zip(masters, learned, strict=True):
        if master.grad is None and processes:
            master.grad = torch.zeros_like(master)
    if learner.masters.shards is None:
        learner.ranks.add([master.grad for master in learner.masters.masters if master.grad is not None])
    sums = learner.ranks.total(loss.loss_sum, loss.num_targets, loss.num_tokens, num_targets)
    return StepLoss(sums[0], sums[1], int(sums[2])), sums[3]


def train_step(learner: Learner, rows: Ints, schedule_factor: float) -> StepLoss:
    """Gradients, division, clipping, AdamW, and the new weights given to the network. Returns the loss as it was."""
    rows = learner.ranks.share(rows, learner.table.lengths)
    loss = backward(learner, rows)
    num_targets = loss.num_targets
    if learner.embeddings is not None and learner.passes > 1:
        with moved_along_gradient(learner.masters, learner.embeddings, learner.training.adversarial_epsilon):
            num_targets += backward(learner, rows).num_targets
    if learner.ranks.count > 1:
        loss, num_targets = _over_all(learner, loss, num_targets)
    if learner.anchor is not None and not learner.anchor.decoupled:
        learner.anchor.add_gradients(num_targets)
    among = ALONE if learner.masters.shards is None else learner.ranks
    divide_and_clip(learner.masters.masters, num_targets, learner.training.max_grad_norm, among)
    if learner.anchor is not None and learner.anchor.decoupled:
        learner.anchor.decay(learner.optimizer.rates(schedule_factor))
    learner.optimizer.step(schedule_factor)
    learner.masters.publish()
    return loss
