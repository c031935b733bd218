"""Probabilities for whole sets, in batches of similar length, without gradients. Knows no task by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from feinschliff.engine.batching import Batch, TokenTable, by_length, collate
from feinschliff.engine.prefix_cache import PrefixCache


class Predictor(Protocol):
    """What scoring asks of a task."""

    def predict(self, network: Any, batch: Batch) -> Tensor:
        """Probabilities [B, C]."""
        ...


def probabilities(
    predictor: Predictor,
    network: Any,
    table: TokenTable,
    *,
    max_tokens: int,
    cache: PrefixCache | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> npt.NDArray[np.float32]:
    """[N, C] for all rows of ``table``, in its order. Only the result is kept, never logits of tokens."""
    network.eval()
    out: npt.NDArray[np.float32] | None = None
    with torch.inference_mode():
        for rows in by_length(table.lengths, max_tokens):
            batch = collate(table, rows)
            if cache is not None:
                cache.attach(batch, table)
            part = predictor.predict(network, batch).float().numpy()
            if out is None:
                out = np.empty((len(table), part.shape[1]), dtype=np.float32)
            out[batch.rows.numpy()] = part
            on_rows(len(rows))
    return np.empty((0, 0), np.float32) if out is None else out


def mean_loss(probabilities_NC: npt.NDArray[np.float32], targets: Tensor) -> float:
    """Unsmoothed cross-entropy of probabilities against class numbers [N] or indicators [N, C]."""
    p = np.clip(probabilities_NC.astype(np.float64), 1e-12, 1.0)
    goal = targets.numpy()
    if goal.ndim == 1:
        return float(-np.log(p[np.arange(len(goal)), goal]).mean())
    q = np.clip(1.0 - probabilities_NC.astype(np.float64), 1e-12, 1.0)
    return float(-(goal * np.log(p) + (1.0 - goal) * np.log(q)).mean())
