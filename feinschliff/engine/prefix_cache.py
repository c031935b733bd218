"""Outputs of the frozen lowest layers, computed once and kept under a key of everything they depend on.

In the machine's memory, wherever the network computes, or past a limit in a memory-mapped file. Knows no architecture:
the network says where its prefix ends.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from feinschliff.engine.batching import Batch, by_length
from feinschliff.engine.contracts import PrefixStage, Table
from feinschliff.engine.devices import device_of, on
from feinschliff.errors import RunDirectoryError
from feinschliff.store.run_directory import disk_full


@dataclass(slots=True)
class PrefixCache:
    """``outputs`` stand in the table's order: [total tokens, d], or [N, ...] where there is one a row."""

    outputs: Tensor
    stage: PrefixStage
    key: str
    file: Path | None = None

    def attach(self, batch: Batch, table: Table) -> None:
        """Give a batch the prefix outputs of its rows."""
        batch.prefix_pooled = self.stage.pooled
        places = table.places(batch, self.stage.pooled)
        if not self.stage.pooled:
            # Filling tokens take the first token's states: what stands there is computed along and never read.
            places = F.pad(places, (0, batch.size - len(places)), value=int(places[0]))
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


def cache_key(network: Any, stage: PrefixStage, table: Table) -> str:
    """SHA-256 over frozen weights, their precision, token ids, row borders, segments and the stage."""
    digest = hashlib.sha256(f"{stage.layers}:{stage.pooled}:{stage.pooling}".encode())
    named = {**dict(network.named_buffers()), **dict(network.named_parameters())}
    for name in stage.parameter_names:
        parameter = named[name].detach()
        digest.update(f"{name}:{parameter.dtype}:{tuple(parameter.shape)}".encode())
        digest.update(parameter.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    for array in table.arrays():
        digest.update(b"-" if array is None else array.tobytes())
    return digest.hexdigest()


def _storage(shape: tuple[int, ...], dtype: torch.dtype, file: Path) -> Tensor:
    """A tensor over a new memory-mapped file."""
    count = math.prod(shape)
    size = count * dtype.itemsize
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "wb") as handle:
            os.posix_fallocate(handle.fileno(), 0, max(size, 1))
    except OSError as error:
        file.unlink(missing_ok=True)
        if error.errno == 28:
            raise disk_full(file) from error
        raise RunDirectoryError(f"{file} cannot be written", why=error.strerror) from error
    return torch.from_file(str(file), shared=True, size=count, dtype=dtype).view(shape)


@torch.no_grad()
def build(
    network: Any, table: Table, stage: PrefixStage, *, max_tokens: int, memory_gib: float, folder: Path
) -> PrefixCache:
    """Run the prefix over all rows once, in batches of similar length.

    Raises:
        ResourceError: the file does not fit on the disk.
    """
    was_training = network.training
    network.eval()
    key, outputs, file = cache_key(network, stage, table), None, None
    for rows in by_length(table.lengths, max_tokens):
        batch = table.collate(rows)
        states = network.run_prefix(on(batch, device_of(network)), stage).cpu()
        if outputs is None:
            shape = (table.num_places(stage.pooled), *states.shape[1:])
            if math.prod(shape) * states.element_size() > memory_gib * 2**30:
                file = folder / f"{key[:16]}.prefix"
                outputs = _storage(shape, states.dtype, file)
            else:
                outputs = torch.empty(shape, dtype=states.dtype)
        places = table.places(batch, stage.pooled)
        outputs[places] = states[: len(places)]
    network.train(was_training)
    if outputs is None:
        raise ValueError("a prefix cache needs at least one row")
    return PrefixCache(outputs, stage, key, file)
