"""A network's outputs for whole sets, in batches of similar length, without gradients. Knows no task by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from feinschliff.engine.batching import Batch, Targets, by_length
from feinschliff.engine.contracts import Table
from feinschliff.engine.devices import device_of, on
from feinschliff.engine.prefix_cache import PrefixCache
from feinschliff.engine.ranks import ALONE, Ranks

Floats = npt.NDArray[np.float32]


class Predictor(Protocol):
    """What scoring asks of a task."""

    per_token: bool
    """Whether :meth:`predict` answers for each token instead of each row."""

    def predict(self, network: Any, batch: Batch) -> Tensor:
        """[B, ...] for the batch's rows, or [tokens, ...] for its real tokens."""
        ...


def outputs(
    predictor: Predictor,
    network: Any,
    table: Table,
    *,
    max_tokens: int,
    targets: Targets | None = None,
    cache: PrefixCache | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
    ranks: Ranks = ALONE,
) -> Floats:
    """[N, ...] for all rows of ``table``, or [total tokens, ...], in its order. Only what the task keeps is kept.

    Args:
        targets: given to the batches, where the task's answers carry the loss.
        ranks: the processes that share the batches; all get all outputs, the same bits as one process computes.
    """
    network.eval()
    out: Floats | None = None
    batches = list(by_length(table.lengths, max_tokens))
    own = batches[ranks.rank :: ranks.count]
    idle = math.ceil(len(batches) / ranks.count) - len(own)  # all compute as often: their weights may be divided
    with torch.inference_mode():
        for number, rows in enumerate([*own, *batches[:idle]]):
            batch = table.collate(rows, targets)
            if cache is not None:
                cache.attach(batch, table)
            part = predictor.predict(network, on(batch, device_of(network))).float().cpu().numpy()
            if out is None:
                out = np.zeros((table.num_places(not predictor.per_token), *part.shape[1:]), dtype=np.float32)
            if number >= len(own):
                continue
            out[table.places(batch, not predictor.per_token).numpy()] = part
            on_rows(len(rows))
    if out is None:
        return np.empty((0, 0), np.float32)
    ranks.add([torch.from_numpy(out)])
    return out


def mean_loss(probabilities_NC: Floats, targets: Tensor) -> float:
    """Unsmoothed cross-entropy of probabilities against class numbers [N] or indicators [N, C]."""
    p = np.clip(probabilities_NC.astype(np.float64), 1e-12, 1.0)
    goal = targets.numpy()
    if goal.ndim == 1:
        return float(-np.log(p[np.arange(len(goal)), goal]).mean())
    q = np.clip(1.0 - probabilities_NC.astype(np.float64), 1e-12, 1.0)
    return float(-(goal * np.log(p) + (1.0 - goal) * np.log(q)).mean())
