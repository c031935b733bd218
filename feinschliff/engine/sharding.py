"""Weights, gradients and moments divided over processes: PyTorch's FSDP2 (Zhao et al. 2023) under our loop.

Each process keeps its part of the rows of every parameter, as ``torch.chunk`` cuts them; a layer's weights are gathered
before it is computed and dropped after it, in both passes, and its gradients are summed where they are kept. What the
loop steps on are plain tensors, this process's pieces. Checkpoints are PyTorch's distributed checkpoints: every process
writes its pieces, and any number of processes reads them. Knows names and shapes, no task.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from feinschliff.engine.ranks import Ranks


class Shards:
    """The pieces of one process among those of ``ranks``."""

    def __init__(self, ranks: Ranks, device: torch.device) -> None:
        from torch.distributed.device_mesh import init_device_mesh

        self.ranks = ranks
        self._device = device
        self._mesh = init_device_mesh(device.type, (ranks.count,))
        self._divided: list[Any] = []

    def divide(self, body: nn.Module, layers: Iterable[nn.Module]) -> None:
        """Let each layer, and what of ``body`` is in none, gather its weights when it is called; gradients are sums."""
        from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

        # Layers give views of what they computed, and nothing here changes what a layer gave.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view", category=UserWarning)
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
        for part in (*layers, body):
            fully_shard(part, mesh=self._mesh, mp_policy=policy)
        for module in body.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)  # gloo has no other
                self._divided.append(module)

    def forget_gathered(self) -> None:
        """Have weights gathered again that a forward pass left whole: they are others now."""
        for module in self._divided:
            module.reshard()

    def piece(self, whole: Tensor) -> Tensor:
        """This process's rows of a tensor that is whole; none where there are fewer rows than processes."""
        parts = torch.chunk(whole, self.ranks.count) if len(whole) else ()
        return parts[self.ranks.rank] if self.ranks.rank < len(parts) else whole[:0]

    def gathered(self, pieces: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """Whole tensors for the first process, nothing for the others; all have to call it.

        Args:
            shapes: of the whole tensors.
        """
        found = {}
        for name, piece in pieces.items():
            whole = self._whole(piece, shapes[name]).full_tensor()
            if self.ranks.leads:
                found[name] = whole
        return found

    def write(self, folder: Path, pieces: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
        """Write tensors that have pieces everywhere; all have to call it. Those without dimensions are everybody's.

        Raises:
            OSError: what the first process that failed was told.
        """
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.filesystem import FileSystemWriter
        from torch.distributed.checkpoint.state_dict_saver import save

        state = {name: self._whole(one, shapes[name]) if one.dim() else one for name, one in pieces.items()}
        try:
            save(state, storage_writer=FileSystemWriter(folder))
        except CheckpointException as error:
            cause = next(iter(error.failures.values()))[0]
            number = cause.errno if isinstance(cause, OSError) else None
            raise OSError(number, str(cause)) from error

    def _whole(self, piece: Tensor, shape: Sequence[int]) -> Any:
        from torch.distributed.tensor import DTensor, Shard

        size = torch.Size(shape)
        stride = torch.empty(size, device="meta").stride()
        return DTensor.from_local(piece.detach(), self._mesh, [Shard(0)], run_check=False, shape=size, stride=stride)

    def place(self, size: Sequence[int], dtype: torch.dtype) -> Any:
        """Where this process's rows of a tensor of ``size`` are read to."""
        rows = len(self.piece(torch.empty(size[0], 0)))
        return self._whole(torch.empty((rows, *size[1:]), dtype=dtype, device=self._device), size)


def read(folder: Path, shards: Shards | None = None) -> dict[str, Tensor]:
    """The tensors of a distributed checkpoint: pieces with ``shards``, whole ones without.

    Raises:
        OSError, KeyError, ValueError: it is damaged.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        reader = FileSystemReader(folder)
        state: dict[str, Any] = {}
        divided = set()
        for name, told in reader.read_metadata().state_dict_metadata.items():
            if not isinstance(told, TensorStorageMetadata):
                raise ValueError(f"{name} is no tensor")
            dtype = told.properties.dtype
            if shards is None or not told.size:
                state[name] = torch.empty(told.size, dtype=dtype)
            else:
                state[name] = shards.place(told.size, dtype)
                divided.add(name)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*single process.*")  # each reads its own pieces by itself
            load(state, storage_reader=reader, no_dist=True)
    except (CheckpointException, pickle.UnpicklingError, EOFError, ImportError, AttributeError, RuntimeError) as error:
        raise OSError(f"{folder} is damaged: {error}") from error
    return {name: value.to_local() if name in divided else value for name, value in state.items()}
