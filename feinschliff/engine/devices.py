"""Which device a run computes on, and what goes there: weights, batches, and answers on their way back.

Tables, targets, prefix caches and everything that is kept in files stay in the machine's memory; a batch is copied to
the network's device when it is computed. Here alone a device is chosen. Knows no network, no task and no loop.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from torch import Tensor

from feinschliff.engine.batching import Batch, Group, GroupsElsewhere
from feinschliff.errors import ConfigError

DeviceName = Literal["auto", "cpu", "cuda"]
CPU = torch.device("cpu")
WHERE = "training.device"
CGROUP = Path("/sys/fs/cgroup")
CONTROL_GROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Limit, use and statistics of memory, and which of these the kernel gives back when asked
(docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html)."""


def chosen(asked: DeviceName, local_rank: int = 0) -> tuple[torch.device, str]:
    """The device, made the current one, and a sentence that says which and why.

    Args:
        local_rank: which process of this machine asks: each has a GPU of its own.

    Raises:
        ConfigError: a GPU was asked for, and there is none for this process.
    """
    if asked == "cpu":
        return CPU, "device cpu: as asked"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if local_rank < count:
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
        return device, f"device {device}: {torch.cuda.get_device_name(device)}"
    if asked == "auto" and not count:
        return CPU, "device cpu: no GPU found"
    built = "torch sees none" if torch.version.cuda else f"torch {torch.__version__} is built without CUDA"
    raise ConfigError(
        f"there is no GPU for process {local_rank} of this machine" if count else "there is no GPU",
        where=WHERE,
        why=f"this machine has {count}" if count else built,
        remedy=f"start {count} processes at most (torchrun --nproc-per-node {count}), or add --training.device cpu"
        if count
        else "leave training.device at auto, or install torch for CUDA on a machine with a GPU of NVIDIA",
    )


def device_of(network: Any) -> torch.device:
    """Where a network computes."""
    parameter: Tensor | None = next(iter(network.parameters()), None)
    return CPU if parameter is None else parameter.device


def computes_bf16(device: torch.device) -> bool:
    """Whether bf16 is worth measuring there."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def free_bytes(device: torch.device) -> int:
    """Memory that is free where activations will lie; a container may have less than its machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(int(psutil.virtual_memory().available), *_left_to_containers())


def _left_to_containers() -> list[int]:
    """By the control groups that hold this process (v2, v1): the limit without what is in use and cannot be dropped."""
    left = [sys.maxsize]
    for limit, used, stat, dropped in CONTROL_GROUPS:
        try:
            statistics = dict(line.split() for line in (CGROUP / stat).read_text().splitlines())
            in_use = int((CGROUP / used).read_text()) - int(statistics.get(dropped, "0"))
            left.append(max(0, int((CGROUP / limit).read_text()) - in_use))
        except (OSError, ValueError):  # there is no such group, or no limit ("max")
            continue
    return left


def on(batch: Batch, device: torch.device) -> Batch:
    """The batch with everything that is computed with on ``device``; the batch itself where that is the CPU.

    ``rows`` stays: tables and caches ask for it, and they are in the machine's memory.
    """
    if device.type == "cpu":
        return batch

    def there(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(device)

    return replace(
        batch,
        lengths_B=batch.lengths_B.to(device),
        ids_T=batch.ids_T.to(device),
        positions_T=batch.positions_T.to(device),
        segments_T=there(batch.segments_T),
        groups=_groups_on(batch.groups, batch.lengths_B, device),
        targets=there(batch.targets),
        weights_T=there(batch.weights_T),
        prefix=there(batch.prefix),
        members=there(batch.members),
    )


def _groups_on(groups: Sequence[Group], lengths_B: Tensor, device: torch.device) -> GroupsElsewhere:
    """Groups whose places and masks lie on ``device``, with the borders of all rows."""
    borders = torch.zeros(len(lengths_B) + 1, dtype=torch.int32)
    borders[1:] = torch.cumsum(lengths_B, 0)
    moved = [
        replace(
            group,
            index=None if group.index is None else group.index.to(device),
            bias_B11L=None if group.bias_B11L is None else group.bias_B11L.to(device),
        )
        for group in groups
    ]
    return GroupsElsewhere(moved, borders.to(device), int(lengths_B.max()))
