"""All images of a set as pixels, decoded once, and batches of them. Knows no file, no class and no network.

Eight bits a value are kept, in memory or past a limit in a memory-mapped file; numbers for the network are made of them
when a batch is computed. With a prefix cache they are not even looked at.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from feinschliff.engine.batching import Batch, Ints, Targets, TokenTargets

PIXELS_A_TOKEN = 256
"""An image costs as much as so many tokens: one for each 16 x 16 pixels, the usual patch."""
MEMORY_BYTES = 2 * 2**30
"""Larger sets of pixels are memory-mapped."""
_NONE = torch.empty(0, dtype=torch.int64)


def tokens_of(height: int, width: int) -> int:
    """What an image counts for micro batches."""
    return max(1, -(-height * width // PIXELS_A_TOKEN))


@dataclass(slots=True)
class ImageBatch(Batch):
    """Images in the order of ``rows``. The token fields are empty."""

    table: ImageTable | None = None

    @property
    def num_tokens(self) -> int:
        """See ``tokens_of``."""
        return int(self.lengths_B.sum())

    @property
    def size(self) -> int:
        """Rows: there is no filling."""
        return len(self.rows)

    def pixels(self) -> Tensor:
        """uint8 [B, c, h, w]."""
        if self.table is None:
            raise RuntimeError("a batch without its table has no pixels")
        return self.table.pixels[self.rows]


@dataclass(slots=True)
class ImageTable:
    """Keeps ``engine.contracts.Table``."""

    pixels: Tensor
    """uint8 [N, c, h, w]."""
    _digest: bytes = field(default=b"", repr=False)

    @property
    def lengths(self) -> Ints:
        """All images have one size."""
        return np.full(len(self.pixels), tokens_of(*self.pixels.shape[2:]), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.pixels)

    def collate(self, rows: Ints, targets: Targets | None = None, num_targets: int | None = None) -> ImageBatch:
        """The batch of some rows, in their order."""
        picked = torch.from_numpy(np.ascontiguousarray(rows))
        if isinstance(targets, TokenTargets):
            raise TypeError("images have no tokens")
        return ImageBatch(
            rows=picked,
            lengths_B=torch.full((len(picked),), tokens_of(*self.pixels.shape[2:])),
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
        """A hash of all pixels stands for them."""
        if not self._digest:
            digest = blake2b(str(tuple(self.pixels.shape)).encode())
            for image in self.pixels:
                digest.update(image.numpy())
            self._digest = digest.digest()
        yield np.frombuffer(self._digest, dtype=np.uint8)


def empty_pixels(
    num_rows: int, height: int, width: int, num_channels: int = 3, memory_bytes: int = MEMORY_BYTES
) -> Tensor:
    """Room for a set: in memory, or in a file that has no name any more and goes with the process.

    Raises:
        OSError: there is no room on the disk of temporary files.
    """
    shape = (num_rows, num_channels, height, width)
    size = num_rows * num_channels * height * width
    if size <= memory_bytes:
        return torch.empty(shape, dtype=torch.uint8)
    with tempfile.NamedTemporaryFile(prefix="feinschliff-images-") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return torch.from_file(file.name, shared=True, size=size, dtype=torch.uint8).view(shape)
