"""Where a new head starts: at what the frozen network's features say of some rows. Knows no loop."""

from __future__ import annotations

from typing import Any

import torch

from feinschliff.config.run import RunConfig
from feinschliff.engine import prefix_cache
from feinschliff.engine.batching import FORWARD_TOKENS, NO_TARGET, Ints, TokenTargets, micro_batches
from feinschliff.engine.devices import device_of, on
from feinschliff.errors import DataError
from feinschliff.tasks._task import EncodedSet


@torch.no_grad()
def start_head(
    task: Any, network: Any, train: EncodedSet, config: RunConfig, cache: prefix_cache.PrefixCache | None
) -> None:
    """Start the head from the frozen network's features, on rows that the task picks."""
    if train.targets is None:
        raise DataError("the training rows have no labels")
    at_probe = config.model.head_init == "linear_probe"
    rows = (task.probe_rows if at_probe else task.head_rows)(train, config.seed)
    if not len(rows):
        return
    network.eval()
    features, targets, place = [], [], []
    for part in micro_batches(rows, train.table.lengths, min(config.training.micro_batch_tokens, FORWARD_TOKENS)):
        batch = train.table.collate(part, train.targets)
        if cache is not None:
            cache.attach(batch, train.table)
        batch = on(batch, device_of(network))
        found, goal = network.features(batch), batch.targets
        if goal is None:
            raise DataError("the training rows have no labels")
        if isinstance(train.targets, TokenTargets):
            found, goal = found[goal != NO_TARGET], goal[goal != NO_TARGET]
        features.append(found)
        targets.append(goal)
        place.append(batch.rows)
    order = slice(None) if isinstance(train.targets, TokenTargets) else _order_of(rows, torch.cat(place))
    start = task.start_head_at_probe if at_probe else task.start_head
    start(network, torch.cat(features)[order], torch.cat(targets)[order])


def _order_of(rows: Ints, found: torch.Tensor) -> torch.Tensor:
    """What brings ``found`` into the order of ``rows``."""
    at = {int(row): index for index, row in enumerate(found)}
    return torch.tensor([at[int(row)] for row in rows])
