"""A staged model of rows of numbers with a linear head. Knows no loss."""

from __future__ import annotations

from torch import Tensor

from feinschliff.engine.vectors import VectorBatch
from feinschliff.tasks._row_network import RowNetwork


class VectorNetwork(RowNetwork):
    """Rows of numbers to logits [B, C]."""

    def inputs(self, batch: VectorBatch) -> Tensor:
        """[B, n], as they are in the data."""
        return batch.values().to(self.dtype)
