"""Several processes training one model: each takes its share of every global batch, gradients are summed over all.

That is data parallelism as PyTorch's DistributedDataParallel does it (Li et al. 2020), with one sum a step over what
the masters collected, so accumulation costs no messages. Losses are sums and are divided once by the targets of all, so
the number of processes changes nothing but rounding. Weights, optimizer and checkpoints are the same everywhere: a run
may be resumed by another number of processes. Knows no task and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from feinschliff.engine.batching import Ints

BUCKET_NUMBERS = 2**23
"""So many are sent as one message, unless a tensor has more: a copy of them is what a sum takes in memory."""
PATIENCE = timedelta(minutes=60)
"""How long one process waits for the others: the first writes model folders while they do."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among ``count``."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def share(self, rows: Ints, lengths: Ints) -> Ints:
        """This process's rows of a global batch, dealt in the order of their lengths: shares cost about alike."""
        if self.count == 1:
            return rows
        order = rows[np.argsort(lengths[rows], kind="stable")]
        return order[self.rank :: self.count]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over all processes, in place."""
        if self.count == 1 or not tensors:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            for tensor, part in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def total(self, *numbers: float) -> list[float]:
        """Sums over all processes."""
        if self.count == 1:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(found)
        return [float(value) for value in found]

    def most(self, number: int) -> int:
        """The largest over all processes."""
        if self.count == 1:
            return number
        found = torch.tensor(number)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def agreed(self, numbers: Sequence[float]) -> list[float]:
        """The first process's numbers, for all: decisions taken on them are the same everywhere."""
        if self.count == 1:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(found, 0)
        return [float(value) for value in found]

    def any(self, said: bool) -> bool:
        """Whether one of them says so."""
        return said if self.count == 1 else self.total(float(said))[0] > 0

    def told(self, said: str) -> str:
        """What the first process says."""
        if self.count == 1:
            return said
        box = [said]
        dist.broadcast_object_list(box)
        return str(box[0])

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket, numbers = list[Tensor](), 0
    for tensor in tensors:
        if bucket and numbers + tensor.numel() > BUCKET_NUMBERS:
            yield bucket
            bucket, numbers = [], 0
        bucket.append(tensor)
        numbers += tensor.numel()
    if bucket:
        yield bucket


ALONE = Ranks()


def join(rank: int, count: int) -> Ranks:
    """Meet the others; what torchrun put into the environment says where."""
    if count == 1:
        return ALONE
    if not dist.is_initialized():
        # what is decided together are tensors on the CPU, everywhere
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return Ranks(rank, count)


def leave(ranks: Ranks) -> None:
    """Say goodbye to the others."""
    if ranks.count > 1 and dist.is_initialized():
        dist.destroy_process_group()
