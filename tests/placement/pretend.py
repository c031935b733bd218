"""A device that is none: tensors on it hold their numbers on the CPU, and an operation that mixes both sides raises.

So a run can be followed through the paths of a GPU on a machine without one, with real numbers: what is not the CPU
takes the ways for accelerators, ``numpy()`` of what was not fetched raises as it does for a GPU, and results can be
compared. ``FakeTensorMode`` of torch does not serve: in a build without CUDA autograd ends the process at the first
fake CUDA tensor, and it has no numbers for what asks for them (the loss, which tokens have targets). It says nothing
about CUDA's kernels, their types and their speed.

It takes torch's one place for devices from outside, for the whole process: only child processes import this.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Module(_DummyBackendModule):
    """What torch asks of a device's module. Numbers are drawn by the CPU's generator, which has a state already."""

    def get_rng_state(self, device: Any = None) -> Tensor:
        """Of no generator."""
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        """There is none to be set."""


NAME = "pretend"
_setup_privateuseone_for_python_backend(NAME, _Module())
torch.inference_mode = torch.no_grad  # type: ignore[assignment,misc]  # tensors of that mode cannot be wrapped
torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) makes its tensor here and takes it there
DEVICE = torch.device(NAME, 0)
aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
"""What takes tensors from one side to the other."""
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)
"""CUDA takes their indices from the CPU too."""


class Elsewhere(Tensor):
    """A tensor on ``DEVICE``; ``held`` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        """Share the numbers of ``held``."""
        shape = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        out: Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.size(), dtype=held.dtype, layout=held.layout, device=DEVICE, **shape
        )
        out.held = held
        return out

    def __init__(self, held: Tensor) -> None:
        super().__init__()

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        """Without gradients; shares the numbers."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Elsewhere):
            raise RuntimeError("the data of a tensor there is set to one on the CPU")
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.held = value.held

    def tolist(self) -> Any:
        """Fetched, as from a GPU."""
        return self.held.tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Elsewhere({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Elsewhen(TorchDispatchMode):
    """Within it tensors can be made on ``DEVICE`` and brought there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the numbers that are held, its results on the side where it was asked for.

    Raises:
        RuntimeError: tensors of both sides.
    """
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [leaf for leaf in given if isinstance(leaf, Elsewhere)]
    asked = kwargs.get("device")
    if there and func not in COPIES:
        _refuse_mixed(func, args, kwargs)
    lands = bool(there) if asked is None else torch.device(asked).type == NAME
    if asked is not None and lands:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func is aten._fused_sdp_choice.default:
        return 0  # products written out
    out: Any = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    own = {id(tensor.held): tensor for tensor in given if isinstance(tensor, Elsewhere)}
    of_given = {id(_held(tensor)) for tensor in given}

    def sided(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or id(leaf) in own:
            return own.get(id(leaf), leaf)
        leaf = leaf.clone() if id(leaf) in of_given and lands != bool(there) else leaf  # a copy, not the same numbers
        return Elsewhere(leaf) if lands else leaf

    if func is aten.copy_.default:
        return args[0]
    return tree_map(sided, out)


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, Elsewhere) else leaf


def _refuse_mixed(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    checked = (args[0], *args[2:]) if func in INDEXED else args
    here = [
        leaf
        for leaf in tree_leaves((checked, kwargs))
        if isinstance(leaf, Tensor) and not isinstance(leaf, Elsewhere) and leaf.dim() > 0
    ]
    if here:
        raise RuntimeError(f"{func}: tensors on {DEVICE} and, of shape {tuple(here[0].shape)}, on the CPU")
