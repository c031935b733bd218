"""Places for trained input embeddings in front of every row: ids below zero, and batches without them. Knows no model.

The first place of a row has id -1, the next -2 and so on. They are ordinary tokens of the row in all else: positions
count through, every token attends to them, pooling takes them in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from feinschliff.engine.batching import (
    NO_TARGET,
    Batch,
    Ints,
    TokenTable,
    TokenTargets,
    group_by_length,
    padded_size,
)


def with_virtual_tokens(table: TokenTable, count: int) -> TokenTable:
    """The table with ``count`` places in front of every row, of the first segment where there are segments."""
    if count == 0:
        return table
    places = np.tile(-1 - np.arange(count, dtype=np.int32), len(table))
    starts = np.repeat(table.offsets[:-1], count)
    segments = None if table.segments is None else np.insert(table.segments, starts, 0)
    return TokenTable(np.insert(table.ids, starts, places), table.offsets + count * np.arange(len(table) + 1), segments)


def targets_behind(targets: TokenTargets, table: TokenTable, count: int) -> TokenTargets:
    """The targets of the tokens of ``table`` where :func:`with_virtual_tokens` puts them; the places have none."""
    return TokenTargets(np.insert(targets.values, np.repeat(table.offsets[:-1], count), NO_TARGET))


def places_behind(places: Ints, table: TokenTable, count: int) -> Ints:
    """Where tokens of ``table`` stand after :func:`with_virtual_tokens`."""
    moved: Ints = places + count * np.searchsorted(table.offsets, places, side="right")
    return moved


def without_virtual_tokens(batch: Batch, count: int) -> Batch:
    """The batch as it is where rows have no such places; what was computed for it before does not fit and is left."""
    kept = (batch.ids_T[: batch.num_tokens] >= 0).nonzero().squeeze(1)
    lengths = batch.lengths_B - count
    filling = padded_size(len(kept)) - len(kept)

    def picked(values: Tensor, shift: int = 0) -> Tensor:
        own = values[kept] - shift
        return torch.cat([own, own[:1].expand(filling)])

    return replace(
        batch,
        lengths_B=lengths,
        ids_T=picked(batch.ids_T),
        positions_T=picked(batch.positions_T, count),
        segments_T=None if batch.segments_T is None else picked(batch.segments_T),
        groups=group_by_length(lengths.tolist()),
        prefix=None,
    )


class WithoutVirtualTokens(nn.Module):
    """A network that leaves ``count`` places in front of each row of a batch out."""

    def __init__(self, network: Any, count: int) -> None:
        super().__init__()
        self.network = network
        self.count = count

    def forward(self, batch: Batch) -> Tensor:
        """What the network gives for the rows without them."""
        out: Tensor = self.network(without_virtual_tokens(batch, self.count))
        return out

    def features(self, batch: Batch) -> Tensor:
        """The same for its features."""
        out: Tensor = self.network.features(without_virtual_tokens(batch, self.count))
        return out
