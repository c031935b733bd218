"""Rows of a source and the target to be written from it, as token ids, and padded batches of them. Knows no network.

Sources and targets are kept end to end like ``TokenTable``; a batch holds them so too, and pads them where a model of
transformers wants rectangles. A row costs its tokens on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from feinschliff.engine.batching import NO_TARGET, Batch, Ints, Targets, TokenTable, TokenTargets

_NONE = torch.empty(0, dtype=torch.int64)


@dataclass(slots=True)
class PairedBatch(Batch):
    """``ids_T`` and ``lengths_B`` are the sources', without filling, in the order of ``rows``.

    ``targets`` [target tokens] are given where a loss is wanted; ``target_ids_T`` are there anyway.
    """

    target_ids_T: Tensor = _NONE
    target_lengths_B: Tensor = _NONE
    padding_id: int = 0

    @property
    def num_tokens(self) -> int:
        """Of both sides."""
        return len(self.ids_T) + len(self.target_ids_T)

    def sources(self) -> tuple[Tensor, Tensor]:
        """Ids and whether they are real, both [B, L]."""
        real_BL = real(self.lengths_B)
        return padded(self.ids_T, real_BL, self.padding_id), real_BL

    def written(self) -> tuple[Tensor, Tensor]:
        """Target ids, ``NO_TARGET`` behind their end, and whether they are real, both [B, L]."""
        real_BL = real(self.target_lengths_B)
        return padded(self.target_ids_T, real_BL, NO_TARGET), real_BL


def real(lengths_B: Tensor) -> Tensor:
    """Which places of rows padded to the longest are theirs, bool [B, L]."""
    longest = int(lengths_B.max()) if len(lengths_B) else 0
    return torch.arange(longest)[None] < lengths_B[:, None]


def padded(values: Tensor, real_BL: Tensor, fill: float) -> Tensor:
    """[T, ...] end to end to [B, L, ...]."""
    out = values.new_full((*real_BL.shape, *values.shape[1:]), fill)
    out[real_BL] = values
    return out


@dataclass(slots=True)
class SourceTargets:
    """Keeps ``engine.contracts.Table``. A prefix's outputs are one a source token."""

    sources: TokenTable
    targets: TokenTable
    """Of no token where targets are not known."""
    padding_id: int

    @property
    def lengths(self) -> Ints:
        """Tokens of both sides [N]."""
        found: Ints = self.sources.lengths + self.targets.lengths
        return found

    def __len__(self) -> int:
        return len(self.sources)

    def collate(self, rows: Ints, targets: Targets | None = None, num_targets: int | None = None) -> PairedBatch:
        """The batch of some rows, in their order. ``targets`` are one a target token of the table."""
        if isinstance(targets, Tensor):
            raise TypeError("targets are one a token")
        flat, lengths = _places(self.sources, rows)
        target_flat, target_lengths = _places(self.targets, rows)
        return PairedBatch(
            rows=torch.from_numpy(np.ascontiguousarray(rows)),
            lengths_B=torch.from_numpy(lengths),
            ids_T=torch.from_numpy(self.sources.ids[flat].astype(np.int64)),
            positions_T=_NONE,
            segments_T=None,
            groups=[],
            targets=torch.from_numpy(targets.values[target_flat]) if isinstance(targets, TokenTargets) else None,
            num_targets=len(target_flat) if num_targets is None else num_targets,
            target_ids_T=torch.from_numpy(self.targets.ids[target_flat].astype(np.int64)),
            target_lengths_B=torch.from_numpy(target_lengths),
            padding_id=self.padding_id,
        )

    def num_places(self, pooled: bool) -> int:
        """One a row where outputs are one a row, else one a source token."""
        return self.sources.num_places(pooled)

    def places(self, batch: Batch, pooled: bool) -> Tensor:
        """See ``Table``."""
        return batch.rows if pooled else torch.from_numpy(_places(self.sources, batch.rows.numpy())[0])

    def arrays(self) -> Iterator[npt.NDArray[Any] | None]:
        """Everything that outputs depend on, for hashing."""
        yield from self.sources.arrays()
        yield from self.targets.arrays()


def _places(table: TokenTable, rows: Ints) -> tuple[Ints, Ints]:
    """Where the tokens of some rows stand in a table, row after row, and how many each row has."""
    lengths = table.lengths[rows]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    flat: Ints = np.repeat(table.offsets[rows], lengths) + within
    return flat, lengths
