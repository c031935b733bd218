"""Compute type by measurement, and fp32 master weights behind it. Knows no architecture."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from feinschliff.engine.devices import computes_bf16
from feinschliff.engine.sharding import Shards

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
ROWS, ROWS_ON_GPU = 512, 8192
"""Of the products that are measured: a GPU is not busy with fewer."""
GAIN_NEEDED = 1.2
"""bf16 is chosen where its matrix products are at least this many times faster; below, its rounding buys too little."""


def _seconds(dtype: torch.dtype, device: torch.device, rows: int, width: int) -> float:
    a = torch.randn(rows, width, device=device).to(dtype)
    b = torch.randn(width, 4 * width, device=device).to(dtype)
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        for _ in range(4):
            product = a @ b
        float(product[0, 0])
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def choose(device: torch.device, hidden_width: int) -> tuple[Precision, str]:
    """The faster type on this device and a sentence that says why. Takes about a tenth of a second."""
    if not computes_bf16(device):
        return "fp32", f"precision fp32: {device} does not compute in bf16"
    rows, width = ROWS if device.type == "cpu" else ROWS_ON_GPU, max(256, min(hidden_width, 1024))
    gain = _seconds(torch.float32, device, rows, width) / _seconds(torch.bfloat16, device, rows, width)
    name: Precision = "bf16" if gain >= GAIN_NEEDED else "fp32"
    return name, f"precision {name}: bf16 matrix products measured {gain:.1f} times as fast as fp32 on this machine"


@torch.no_grad()
def choose_by_running(body: nn.Module, inputs: Tensor) -> tuple[Precision, str]:
    """The same by a forward pass of the body itself: convolutions follow other rules than matrix products."""
    seconds = {}
    for name, dtype in DTYPES.items():
        copied, given, times = copy.deepcopy(body).to(dtype), inputs.to(dtype), []
        for _ in range(3):
            begin = time.perf_counter()
            copied(given)
            times.append(time.perf_counter() - begin)
        seconds[name] = min(times[1:])
    gain = seconds["fp32"] / seconds["bf16"]
    chosen: Precision = "bf16" if gain >= GAIN_NEEDED else "fp32"
    return chosen, f"precision {chosen}: a forward pass in bf16 measured {gain:.1f} times as fast as in fp32"


class MasterWeights:
    """fp32 copies of the trained parameters; the network computes with ``dtype`` copies of them.

    In fp32 both are the same tensors. Frozen parameters of the body are cast once. Gradients of micro batches are
    summed in fp32. Masters are copies because what was loaded lies in one mapped file: a single view of it would keep
    all of its pages. With ``shards`` all of it is this process's piece, and the network's layers are divided here.
    """

    def __init__(
        self, network: nn.Module, body: nn.Module, dtype: torch.dtype, *, shards: Shards | None = None
    ) -> None:
        trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.shapes = {name: tuple(parameter.shape) for name, parameter in trained}
        self.shards = shards
        self.working: list[Any] = [parameter for _, parameter in trained]
        originals = {id(parameter): parameter.data for parameter in self.working}
        for parameter in body.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)
        self.masters: list[Tensor] = []
        if shards is not None:
            whole = [originals[id(parameter)] for parameter in self.working]
            self.masters = [nn.Parameter(shards.piece(one).float().clone()) for one in whole]
            shards.divide(body, body.layers)  # type: ignore[arg-type]
            divided = dict(network.named_parameters())
            self.working = [divided[name] for name in self.names]
            self._pairs = list(zip(self.masters, self.working, strict=True))
            return
        for parameter in self.working:
            same = parameter.dtype == torch.float32
            self.masters.append(parameter if same else nn.Parameter(originals[id(parameter)].float().clone()))
        self._pairs = [(m, w) for m, w in zip(self.masters, self.working, strict=True) if m is not w]

    def collect_gradients(self) -> None:
        """Move the gradients of one backward pass to the masters, adding in fp32."""
        for master, working in self._pairs:
            if working.grad is None:
                continue
            grad = self._piece(working.grad)
            if master.grad is None:
                master.grad = grad.float()
            else:
                master.grad.add_(grad)
            working.grad = None

    def discard_gradients(self) -> None:
        """Forget all gradients."""
        for parameter in (*self.masters, *self.working):
            parameter.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Give the network the masters' values."""
        if self._pairs:
            masters, working = zip(*self._pairs, strict=True)
            torch._foreach_copy_([self._piece(w.data) for w in working], [m.data for m in masters])
        if self.shards is not None:
            self.shards.forget_gathered()

    @contextmanager
    def lent(self, values: list[Tensor]) -> Iterator[None]:
        """The masters' places are taken by ``values``, and the network computes with those; nothing is copied aside."""
        own = [master.data for master in self.masters]
        try:
            self._place(values)
            yield
        finally:
            self._place(own)

    def _place(self, values: list[Tensor]) -> None:
        for master, value in zip(self.masters, values, strict=True):
            master.data = value.to(master.device)
        self.publish()

    @torch.no_grad()
    def load(self, values: dict[str, Tensor]) -> None:
        """Set all masters by name and publish them.

        Raises:
            KeyError: a trained parameter is missing.
        """
        for name, master in zip(self.names, self.masters, strict=True):
            master.data.copy_(values[name])
        self.publish()

    def named(self) -> dict[str, Tensor]:
        """The masters' values by parameter name (no copies)."""
        return {name: master.detach() for name, master in zip(self.names, self.masters, strict=True)}

    def whole(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Values by parameter name, put together from all processes' pieces where they are divided: see ``Shards``."""
        return named if self.shards is None else self.shards.gathered(named, self.shapes)

    @property
    def num_parameters(self) -> int:
        """Trained ones, over all processes."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def _piece(self, tensor: Any) -> Tensor:
        """What of a tensor this process keeps."""
        found: Tensor = tensor if self.shards is None else tensor.to_local()
        return found
