"""Rows of several texts, each text packed as a row of its own, with a map from rows to their texts. Knows no task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from feinschliff.engine.batching import Batch, Ints, Targets, TokenTable, collate


@dataclass(slots=True)
class TextGroups:
    """Texts of many rows: those of row ``i`` are ``first[i]`` to ``first[i + 1]`` in ``texts``.

    Keeps ``contracts.Table``. Outputs are one a text, in the order of ``texts``; ``Batch.rows`` are numbers of texts,
    and ``Batch.members`` says which of them make a row.
    """

    texts: TokenTable
    first: Ints
    """[N + 1]."""

    @property
    def lengths(self) -> Ints:
        """Tokens of all texts of a row [N]."""
        found: Ints = np.diff(self.texts.offsets[self.first])
        return found

    def __len__(self) -> int:
        return len(self.first) - 1

    def collate(self, rows: Ints, targets: Targets | None = None, num_targets: int | None = None) -> Batch:
        """All texts of some rows; ``targets`` [N, ...] are of rows, and in the batch in the order of ``rows``."""
        counts = np.diff(self.first)[rows]
        widest, ends = int(counts.max()), np.cumsum(counts)
        numbers = np.repeat(self.first[rows] - (ends - counts), counts) + np.arange(ends[-1])
        batch = collate(self.texts, numbers)
        place = np.empty(len(self.texts), dtype=np.int64)
        place[batch.rows.numpy()] = np.arange(len(numbers))
        members = np.full((len(rows), widest), -1, dtype=np.int64)
        members[np.arange(widest)[None] < counts[:, None]] = place[numbers]
        batch.members = torch.from_numpy(members)
        batch.targets = targets[torch.from_numpy(rows)] if isinstance(targets, Tensor) else None
        batch.num_targets = len(rows) if num_targets is None else num_targets
        return batch

    def num_places(self, pooled: bool) -> int:
        """One output a text where they are pooled, else one a token."""
        return self.texts.num_places(pooled)

    def places(self, batch: Batch, pooled: bool) -> Tensor:
        """See ``TokenTable``."""
        return self.texts.places(batch, pooled)

    def arrays(self) -> Iterator[npt.NDArray[Any] | None]:
        """Everything that outputs depend on, for hashing."""
        yield from self.texts.arrays()
        yield self.first
