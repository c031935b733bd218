"""All rows of a set as numbers, and batches of them. Knows no column, no class and no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from feinschliff.engine.batching import Batch, Ints, Targets, TokenTargets

_NONE = torch.empty(0, dtype=torch.int64)


@dataclass(slots=True)
class VectorBatch(Batch):
    """Rows in the order of ``rows``; each counts as one token. The token fields are empty."""

    table: VectorTable | None = None

    @property
    def num_tokens(self) -> int:
        """Rows."""
        return len(self.rows)

    @property
    def size(self) -> int:
        """Rows: there is no filling."""
        return len(self.rows)

    def values(self) -> Tensor:
        """float32 [B, n]."""
        if self.table is None:
            raise RuntimeError("a batch without its table has no numbers")
        return self.table.values[self.rows]


@dataclass(slots=True)
class VectorTable:
    """Keeps ``engine.contracts.Table``."""

    values: Tensor
    """float32 [N, n]."""

    @property
    def lengths(self) -> Ints:
        """All rows have one size."""
        return np.ones(len(self.values), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.values)

    def collate(self, rows: Ints, targets: Targets | None = None, num_targets: int | None = None) -> VectorBatch:
        """The batch of some rows, in their order."""
        picked = torch.from_numpy(np.ascontiguousarray(rows))
        if isinstance(targets, TokenTargets):
            raise TypeError("rows of numbers have no tokens")
        return VectorBatch(
            rows=picked,
            lengths_B=torch.ones(len(picked), dtype=torch.int64),
            ids_T=_NONE,
            positions_T=_NONE,
            segments_T=None,
            groups=[],
            targets=None if targets is None else targets[picked],
            num_targets=len(picked) if num_targets is None else num_targets,
            table=self,
        )

    def num_places(self, pooled: bool) -> int:
        """One a row."""
        return len(self)

    def places(self, batch: Batch, pooled: bool) -> Tensor:
        """The rows themselves."""
        return batch.rows

    def arrays(self) -> Iterator[npt.NDArray[Any] | None]:
        """The numbers."""
        yield self.values.numpy()
