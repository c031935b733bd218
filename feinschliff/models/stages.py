"""Any network of images, run whole or between two layers. Where it can be cut is found by trying. Knows no family.

A forward pass over made-up images records which modules were called, in order, and what they gave. After a call the
network can be cut where its output alone decides what comes out in the end: other images with that output put in must
give the same. To start at a cut, modules below it are not computed; they give zeros of the right shape, without memory,
so the network's own ``forward`` is used as it is. What lies between two cuts is a layer.

BatchNorm keeps its statistics: they are not parameters, and would depend on how rows are cut into micro batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

PROBE_ROWS = 2
FORWARD = "forward"
TOLERANCE = 1e-3
"""Largest difference of features, against their size, at which a cut counts as one: rounding, nothing else."""
_FAILS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError, AssertionError)


class _Reached(Exception):
    """The output at which a run is to stop."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


@dataclass(slots=True)
class Call:
    """A module's ``turn``-th call in the recorded pass, the calls inside it, and what it gave."""

    name: str
    turn: int
    output: Any = None
    order: int = -1
    """Its place among all calls by when they ended."""
    inner: list[Call] = field(default_factory=list)

    def walk(self) -> Iterator[Call]:
        """This call and all inside it."""
        yield self
        for call in self.inner:
            yield from call.walk()


class StagedModule(nn.Module):
    """``model`` gives features [B, d]; ``layers`` are names of modules by layer, those of the embeddings first."""

    fp32_only = False
    """Whether nothing is gained by weights of a lower precision."""

    def __init__(self, model: nn.Module, probe: Callable[[int, int], Tensor]) -> None:
        """``probe(rows, seed)`` gives made-up images [B, 3, height, width]."""
        super().__init__()
        self.model = model.eval()
        parameters = dict(model.named_parameters())
        self.buffers_fp32 = {name: v.clone() for name, v in model.state_dict().items() if name not in parameters}
        with torch.no_grad():
            cutting = _Cutting(model, probe)
            self.units, cuts = cutting.found()
        self.hidden_width: int = cutting.features.shape[1]
        self.ends = self._layer_ends(cuts)
        """The last unit of each stage but the topmost: embeddings first."""
        for unit in self.units:
            for call in unit.walk():
                call.output = _shape_only(call.output) if call is unit else None
        self._depths = self._module_depths()

    @property
    def num_layers(self) -> int:
        """Stages above the embeddings."""
        return len(self.ends)

    def depth_of(self, name: str) -> int:
        """0 for the embeddings and what belongs to no layer, 1 to n for layers; ``name`` is relative to this module."""
        inner = name.removeprefix("model.")
        found = [depth for module, depth in self._depths.items() if inner.startswith(f"{module}.")]
        return min(found, default=0)

    def stage_modules(self) -> Iterator[tuple[int, nn.Module]]:
        """Every module that belongs to a stage, with its depth."""
        for name, depth in self._depths.items():
            yield depth, self.model.get_submodule(name)

    def train(self, mode: bool = True) -> Self:
        """Layers compute as in evaluation; dropout is the network's to switch on."""
        super().train(False)
        self.training = mode
        return self

    def forward(self, images: Tensor, states: Tensor | None = None, start: int = 0, stop: int | None = None) -> Tensor:
        """Features [B, d] of images [B, 3, h, w]; or the outputs of stage ``stop`` (0: the embeddings).

        ``states`` are outputs of stage ``start``: then images are only asked for their shape.
        """
        self._follow_dtype(images.dtype)
        skipped = None if states is None else self.units[self.ends[start]]
        last = None if stop is None else self.units[self.ends[stop]]
        with controlled(self.model, self.units, Control(len(images), skipped, states, last)):
            try:
                return features_of(self.model(images))
            except _Reached as reached:
                return reached.states

    def _follow_dtype(self, dtype: torch.dtype) -> None:
        """Buffers (norms' statistics) take the precision of the weights around them."""
        for module in self.model.modules():
            for name, value in module._buffers.items():
                if value is not None and value.is_floating_point() and value.dtype != dtype:
                    module._buffers[name] = value.to(dtype)

    def _layer_ends(self, cuts: list[int]) -> list[int]:
        """Cuts that stand before a layer: every segment with a matrix is one, those before the first block are none.

        What follows a layer without a matrix (norms, activations, pooling) belongs to it.
        """
        borders = [*cuts, len(self.units) - 1]
        segments = [range(begin + 1, end + 1) for begin, end in zip([-1, *cuts], borders, strict=True)]
        in_lists = [any(_in_list(self.units[i].name) for i in segment) for segment in segments]
        first = in_lists.index(True) if True in in_lists else 1
        ends = []
        for number, segment in enumerate(segments):
            if number >= max(1, first) and any(self._has_matrix(self.units[i].name) for i in segment):
                ends.append(segment.start - 1)
        return ends

    def _has_matrix(self, name: str) -> bool:
        return any(parameter.ndim >= 2 for parameter in self.model.get_submodule(name).parameters())

    def _module_depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        for index, unit in enumerate(self.units):
            depth = sum(index > end for end in self.ends)
            depths[unit.name] = min(depth, depths.get(unit.name, depth))
        return depths


@dataclass(frozen=True, slots=True)
class Control:
    """What a run leaves out: calls before ``skipped``, which gives ``states``. The run ends at ``last``."""

    rows: int
    skipped: Call | None = None
    states: Tensor | None = None
    last: Call | None = None


@contextmanager
def controlled(model: nn.Module, calls: Sequence[Call], control: Control) -> Iterator[None]:
    """The model's modules act by ``control`` inside; ``calls`` are those that can be told apart, others just run."""
    if control.skipped is None and control.last is None:
        yield
        return
    known = {(call.name, call.turn): call for call in calls}
    modules = {name: model.get_submodule(name) for name in dict.fromkeys(call.name for call in calls)}
    own = {name: vars(module).get(FORWARD) for name, module in modules.items()}
    turns: Counter[str] = Counter()
    try:
        for name, module in modules.items():
            setattr(module, FORWARD, _stand_in(name, module.forward, known, turns, control))
        yield
    finally:
        for name, module in modules.items():
            delattr(module, FORWARD)
            if own[name] is not None:
                setattr(module, FORWARD, own[name])


def _stand_in(
    name: str, forward: Callable[..., Any], known: dict[tuple[str, int], Call], turns: Counter[str], control: Control
) -> Callable[..., Any]:
    def called(*args: Any, **options: Any) -> Any:
        call = known.get((name, turns[name]))
        turns[name] += 1
        if call is not None and control.skipped is not None and call.order <= control.skipped.order:
            turns.update(inner.name for inner in call.walk() if inner is not call)
            return _like(call.output, control, call is control.skipped)
        out = forward(*args, **options)
        if call is not None and call is control.last:
            raise _Reached(only_tensor(out))
        return out

    return called


_FOUND: dict[str, tuple[list[tuple[str, int]], list[int]]] = {}
"""Units and cuts of networks of the same modules: a run loads its base several times."""


class _Cutting:
    """Finds the calls that stand apart, and after which of them a network can be cut."""

    def __init__(self, model: nn.Module, probe: Callable[[int, int], Tensor]) -> None:
        images = probe(PROBE_ROWS, 0)
        self.model, self.other = model, probe(PROBE_ROWS, 1)
        self.key = f"{tuple(images.shape)} {model}"
        self.root = _recorded(model, images)
        self.calls = [call for call in self.root.walk() if call is not self.root]
        self.features = features_of(self.root.output)
        self.scale = float(self.features.abs().max()) + 1e-12
        self._known: dict[int, bool] = {}

    def found(self) -> tuple[list[Call], list[int]]:
        """The calls in order, and the places among them that are cuts; the last is none."""
        if self.key not in _FOUND:
            units = self._parts(self.root)
            cuts = [place for place, call in enumerate(units[:-1]) if self._can_cut(call)]
            _FOUND[self.key] = ([(call.name, call.turn) for call in units], cuts)
        wanted, cuts = _FOUND[self.key]
        known = {(call.name, call.turn): call for call in self.calls}
        return [known[unit] for unit in wanted], cuts

    def _parts(self, call: Call) -> list[Call]:
        """The calls inside, further parted where that gives a cut; else they stay whole."""
        units: list[Call] = []
        for inner in call.inner:
            parts = self._parts(inner) if _holds_blocks(self.model.get_submodule(inner.name)) else []
            worth = len(parts) > 1 and any(self._can_cut(part) for part in parts[:-1])
            units += parts if worth else [inner]
        return units

    def _can_cut(self, call: Call) -> bool:
        if call.order not in self._known:
            self._known[call.order] = self._tried(call)
        return self._known[call.order]

    def _tried(self, call: Call) -> bool:
        states = only_tensor(call.output)
        if states is None or not states.ndim or len(states) != PROBE_ROWS or not states.is_floating_point():
            return False
        try:
            with controlled(self.model, self.calls, Control(PROBE_ROWS, call, states.clone())):
                found = features_of(self.model(self.other))
        except _FAILS:
            return False
        same = found.shape == self.features.shape
        return same and float((found - self.features).abs().max()) <= TOLERANCE * self.scale


def features_of(output: Any) -> Tensor:
    """[B, d] from what a network without its classifier gives: maps [B, d, h, w] are averaged over their places."""
    if not isinstance(output, Tensor):
        output = output["logits"] if isinstance(output, dict) else output[0]
    features: Tensor = output
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def _in_list(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def _recorded(model: nn.Module, images: Tensor) -> Call:
    """The tree of calls of one forward pass; outputs are copies, because a network may change them in place."""
    root = Call("", 0)
    open_calls, turns, ended = [root], Counter[str](), Counter[str]()

    def watched(name: str, module: nn.Module) -> list[Any]:
        def begin(_: nn.Module, __: Any) -> None:
            open_calls.append(Call(name, turns[name]))
            turns[name] += 1

        def end(_: nn.Module, __: Any, output: Any) -> None:
            call = open_calls.pop()
            call.output, call.order = _mapped(output, lambda tensor: tensor.clone()), ended.total()
            ended["calls"] += 1
            open_calls[-1].inner.append(call)

        return [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]

    hooks = [hook for name, module in model.named_modules() if name for hook in watched(name, module)]
    try:
        root.output = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return root


def _holds_blocks(module: nn.Module) -> bool:
    """Whether a list with two modules of one class, each with parts of its own, lies inside (or is the module)."""
    for part in module.modules():
        if isinstance(part, nn.ModuleList | nn.Sequential):
            kinds = Counter(type(child) for child in part if any(True for _ in child.parameters()))
            if any(count > 1 for count in kinds.values()) or (part is module and isinstance(part, nn.Sequential)):
                return True
    return False


def only_tensor(output: Any) -> Any:
    """The one tensor of a module's output; None where there are several or none."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    found = [part for part in parts if isinstance(part, Tensor)]
    return found[0] if len(found) == 1 else None


def _shape_only(output: Any) -> Any:
    """The same structure; tensors keep shape and type, not their values."""
    return _mapped(output, lambda tensor: tensor.new_zeros(()).expand(tensor.shape))


def _like(output: Any, control: Control, put_in: bool) -> Any:
    """The recorded structure with the states of ``control``, or with zeros for its rows."""

    def made(tensor: Tensor) -> Tensor:
        if control.states is None:
            raise RuntimeError("nothing to put in")
        if put_in:
            return control.states
        parted = tensor.ndim > 0 and tensor.shape[0] % PROBE_ROWS == 0
        shape = (tensor.shape[0] // PROBE_ROWS * control.rows, *tensor.shape[1:]) if parted else tensor.shape
        return tensor.new_zeros((), dtype=_dtype(tensor, control.states)).expand(shape)

    return _mapped(output, made)


def _dtype(tensor: Tensor, states: Tensor) -> torch.dtype:
    return states.dtype if tensor.is_floating_point() else tensor.dtype


def _mapped(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, dict):
        return type(output)(**{key: _mapped(value, change) for key, value in output.items()})
    if isinstance(output, list) or type(output) is tuple:
        return type(output)(_mapped(value, change) for value in output)
    return output
