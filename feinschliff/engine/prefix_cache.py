"""Outputs of the frozen lowest layers, computed once and kept under a key of everything they depend on.

In memory, or past a limit in a memory-mapped file. Knows no architecture: the network says where its prefix ends.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from feinschliff.engine.batching import Batch, Ints, TokenTable, by_length, collate
from feinschliff.engine.contracts import PrefixStage
from feinschliff.errors import RunDirectoryError
from feinschliff.store.run_directory import disk_full


@dataclass(slots=True)
class PrefixCache:
    """``outputs`` are [total tokens, d] in the table's order, or [N, d] pooled features."""

    outputs: Tensor
    stage: PrefixStage
    key: str
    file: Path | None = None

    def attach(self, batch: Batch, table: TokenTable) -> None:
        """Give a batch the prefix outputs of its rows."""
        batch.prefix_pooled = self.stage.pooled
        places = _places(batch, table, self.stage)
        if not self.stage.pooled:
            # Filling tokens take the first token's states: what stands there is computed along and never read.
            places = F.pad(places, (0, len(batch.ids_T) - len(places)), value=int(places[0]))
        batch.prefix = self.outputs[places]

    @property
    def description(self) -> str:
        """What is kept and where, for the log."""
        size = self.outputs.numel() * self.outputs.element_size() / 2**20
        return f"{self.stage}: {size:.0f} MiB {'in a memory-mapped file' if self.file else 'in memory'}"

    def close(self) -> None:
        """Remove the file, if there is one."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)


def cache_key(network: Any, stage: PrefixStage, table: TokenTable) -> str:
    """SHA-256 over frozen weights, their precision, token ids, row borders, segments and the stage."""
    digest = hashlib.sha256(f"{stage.layers}:{stage.pooled}:{network.pooling}".encode())
    named = dict(network.named_parameters())
    for name in stage.parameter_names:
        parameter = named[name].detach()
        digest.update(f"{name}:{parameter.dtype}:{tuple(parameter.shape)}".encode())
        digest.update(parameter.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    for array in (table.ids, table.offsets, table.segments):
        digest.update(b"-" if array is None else array.tobytes())
    return digest.hexdigest()


def _storage(shape: tuple[int, int], dtype: torch.dtype, file: Path) -> Tensor:
    """A tensor over a new memory-mapped file."""
    size = shape[0] * shape[1] * dtype.itemsize
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "wb") as handle:
            os.posix_fallocate(handle.fileno(), 0, max(size, 1))
    except OSError as error:
        file.unlink(missing_ok=True)
        if error.errno == 28:
            raise disk_full(file) from error
        raise RunDirectoryError(f"{file} cannot be written", why=error.strerror) from error
    return torch.from_file(str(file), shared=True, size=shape[0] * shape[1], dtype=dtype).view(shape)


@torch.no_grad()
def build(
    network: Any, table: TokenTable, stage: PrefixStage, *, max_tokens: int, memory_gib: float, folder: Path
) -> PrefixCache:
    """Run the prefix over all rows once, in batches of similar length.

    Raises:
        ResourceError: the file does not fit on the disk.
    """
    was_training = network.training
    network.eval()
    key, outputs, file = cache_key(network, stage, table), None, None
    for rows in by_length(table.lengths, max_tokens):
        batch = collate(table, rows)
        states = network.run_prefix(batch, stage)
        if outputs is None:
            shape = (len(table) if stage.pooled else len(table.ids), states.shape[1])
            if shape[0] * shape[1] * states.element_size() > memory_gib * 2**30:
                file = folder / f"{key[:16]}.prefix"
                outputs = _storage(shape, states.dtype, file)
            else:
                outputs = torch.empty(shape, dtype=states.dtype)
        places = _places(batch, table, stage)
        outputs[places] = states[: len(places)]
    network.train(was_training)
    if outputs is None:
        raise ValueError("a prefix cache needs at least one row")
    return PrefixCache(outputs, stage, key, file)


def _places(batch: Batch, table: TokenTable, stage: PrefixStage) -> Tensor:
    """Where the rows' outputs stand in the cache, in the batch's order, without filling."""
    if stage.pooled:
        return batch.rows
    starts: Ints = np.repeat(table.offsets[batch.rows.numpy()], batch.lengths_B.numpy())
    return torch.from_numpy(starts + batch.positions_T.numpy()[: batch.num_tokens])
