"""LoRA: a trained low-rank update beside each chosen linear layer, and the head (Hu et al. 2021). Knows no task.

``W x`` becomes ``W x + s B A x`` with A random and B zero at the start, so training begins at the base model;
``s = alpha / rank``. The layers are PEFT's, put in place so that the network keeps its shape. Variants, which go
together:

- ``rslora``: ``s = alpha / sqrt(rank)``, so that a higher rank does not learn more slowly (Kalajdzievski 2023).
- ``dora``: the rows of ``W + s B A`` are scaled to trained lengths m, which start at those of W; so length and
  direction are learned apart (Liu et al. 2024): ``m (W + s B A) / |W + s B A|``, the divisor taken as a constant.
- ``pissa``: A and B start at the leading singular values of W, and what is left of W is frozen: ``W - s B0 A0 + s B A``
  (Meng et al. 2024). The decomposition is exact, so it comes out the same again.
- ``learning_rate_ratio``: B learns at so many times the rate of A (LoRA+, Hayou et al. 2024; there 16).
- ``quantization``: W is held in 4 or 8 bits while A and B learn (QLoRA, Dettmers et al. 2023): ``models.quantised``.
  The trained update is merged into W as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from feinschliff.config.bases import TypedConfig
from feinschliff.config.training import TrainingConfig
from feinschliff.errors import ConfigError
from feinschliff.methods import _lora_shape, _peft, _peft_folder, _peft_layers
from feinschliff.methods._method import Method, and_head
from feinschliff.methods._peft_layers import ADAPTER, BODY

if TYPE_CHECKING:
    from torch import Tensor, nn

    from feinschliff.engine.contracts import ParameterGroup

PREFIX = "lora_"
PISSA_AND_BITS = "takes its start out of the base weights, and a base in fewer bits has to stay as it is"


def _rank(text: str) -> str:
    _lora_shape.expression_and_number(text, int)
    return text


def _alpha(text: str) -> str:
    _lora_shape.expression_and_number(text, float)
    return text


class LoraConfig(TypedConfig):
    """Low-rank adapters on linear layers."""

    type: Literal["lora"] = "lora"
    """`lora`."""
    rank: int = Field(default=16, ge=1, le=1024)
    """Rank of the update."""
    alpha: float = Field(default=32.0, gt=0.0)
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the update's input."""
    target_modules: tuple[str, ...] = ()
    """Names (or ends of names) of linear layers; empty: every linear layer of the body."""
    ranks: tuple[Annotated[str, AfterValidator(_rank)], ...] = ()
    """Other ranks for some layers: `EXPRESSION=RANK`, as in `query=4,layer.11=32`; the first expression found in a
    layer's name counts."""
    alphas: tuple[Annotated[str, AfterValidator(_alpha)], ...] = ()
    """Other alphas for some layers: `EXPRESSION=ALPHA`, as for `ranks`."""
    rslora: bool = False
    """Rank-stabilised: multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023)."""
    dora: bool = False
    """Learn the length of each row of a matrix apart from its direction (DoRA, Liu et al. 2024); slower."""
    pissa: bool = False
    """Start at the leading singular values of the base weights (PiSSA, Meng et al. 2024); they are computed at the
    start, and the base weights are held a second time."""
    learning_rate_ratio: float = Field(default=1.0, gt=0.0)
    """The rate of B over that of A (LoRA+, Hayou et al. 2024)."""
    quantization: Literal["none", "int8", "nf4"] = "none"
    """Hold the frozen linear layers of a decoder in 8 bits, or 4 (QLoRA, Dettmers et al. 2023), to train where memory
    is short; slower, and the update is merged into the base in full precision."""
    init_from: str | None = None
    """A folder with a LoRA adapter that PEFT (or a run) wrote: adapters start there. Rank, alpha, variant and layers
    are those of the folder. None: adapters start new."""

    @model_validator(mode="after")
    def _quantised_base_stays_whole(self) -> LoraConfig:
        if self.pissa and self.quantization != "none":
            raise ValueError(f"pissa {PISSA_AND_BITS}: leave out pissa, or quantization")
        return self


class Lora(Method):
    """Adapters and head move.

    The default rate is 1e-3, or 3e-4 where updates are larger at the same rate: with ``rslora`` (by sqrt(rank)), and
    with ``pissa``, whose factors start large. MiniLM on 400 rows of SST-2 reached validation losses of 0.46 with both
    at 3e-4, and without them of 0.48 at 3e-4 and 0.61 at 1e-3: few rows want less than the default.
    """

    def __init__(self, config: LoraConfig) -> None:
        super().__init__(config)
        self.default_learning_rate = 3e-4 if config.rslora or config.pissa else 1e-3
        self._shape = _lora_shape.Shape({}, {})
        self._start: _peft_folder.PeftFolder | None = None
        """Read once: a run can be finished without it."""
        self._base: dict[str, Tensor] = {}
        """Of PiSSA: the base weights as they were, by layer."""
        self._taken: dict[str, tuple[Tensor, Tensor]] = {}
        """Of PiSSA: the factors (B0, A0) that were taken out of them, by layer."""

    def quantise_base(self, network: Any) -> None:
        """Every linear layer of the body, adapted or not."""
        from feinschliff.models.quantised import quantise
        from feinschliff.results.training import QuantisedBase

        kind = self.config.quantization
        if kind == "none":
            return
        held = quantise(network.body, kind)
        self.quantised = QuantisedBase(
            quantization=kind,
            layers=held.layers,
            weights=held.weights,
            num_bytes=held.num_bytes,
            relative_error=held.relative_error,
        )

    def adapt(self, network: Any) -> nn.Module:
        """Freeze the base, put adapters beside the targets, train the head.

        Raises:
            ConfigError: no linear layer has one of the names, a rank is too large for PiSSA, or ``init_from`` names no
                LoRA adapter for this base model, or one of PiSSA for a base in fewer bits.
        """
        peft = _peft.load()

        if self.config.init_from and self._start is None:
            self._start = _peft_folder.read(self.config.init_from, "LORA", PREFIX, network.body)
        shape = self._shape_for(network.body)
        linear = _peft_layers.linear_layers(network.body)
        base = {BODY + name: linear[name].weight.data for name in shape.ranks} if shape.pissa else {}
        asked = peft.LoraConfig(
            **(shape.plain() if shape.pissa else shape).as_peft(lambda name: name),
            lora_dropout=self.config.dropout,
            init_lora_weights="pissa" if shape.pissa else True,
        )
        _peft_layers.inject(network, asked, PREFIX)
        self._base = base
        self._taken = {
            name: (layer.lora_B[ADAPTER].weight.detach().clone(), layer.lora_A[ADAPTER].weight.detach().clone())
            for name, layer in _layers(network).items()
            if shape.pissa
        }
        self._shape = shape
        if self._start is not None:
            _peft_folder.fill(network, self._start, PREFIX)
        adapted: nn.Module = network
        return adapted

    def _shape_for(self, body: Any) -> _lora_shape.Shape:
        if self._start is not None:
            shape = _lora_shape.of_folder(self.config, self._start)
        else:
            shape = _lora_shape.as_asked(self.config, body)
        shape.check(body)
        if shape.pissa and self.config.quantization != "none":
            raise ConfigError(
                f"the adapter in {self.config.init_from} is one of PiSSA",
                where="method.quantization",
                why=f"PiSSA {PISSA_AND_BITS}",
                remedy="leave out method.quantization, or start from another adapter",
            )
        return shape

    def parameter_groups(self, network: Any, training: TrainingConfig) -> list[ParameterGroup]:
        """As ever, with B in groups of their own where they have a rate of their own."""
        from feinschliff.engine.contracts import ParameterGroup

        groups = super().parameter_groups(network, training)
        if self.config.learning_rate_ratio == 1.0:
            return groups
        out = []
        for group in groups:
            up = tuple(name for name in group.names if ".lora_B." in name)
            rest = tuple(name for name in group.names if ".lora_B." not in name)
            rates = ((rest, 1.0), (up, self.config.learning_rate_ratio))
            out += [
                ParameterGroup(names, group.learning_rate_factor * ratio, group.weight_decay)
                for names, ratio in rates
                if names
            ]
        return out

    def describe(self, network: Any) -> str:
        """Ranks, layers and variant."""
        return f"{self._shape}{and_head(network)}"

    @contextmanager
    def reference(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network with its adapters switched off, and base weights whole where PiSSA took from them.

        A base in fewer bits stays that.
        """
        layers = _layers(network)
        held = {name: layer.base_layer.weight.data for name, layer in layers.items() if name in self._base}
        with _peft_layers.switched_off(layers.values()):
            try:
                for name, value in held.items():
                    layers[name].base_layer.weight.data = self._base[name].to(value.dtype)
                yield network
            finally:
                for name, value in held.items():
                    layers[name].base_layer.weight.data = value

    def merged_weights(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The updates added to the base weights they stand beside, in fp32, under the base's names.

        Base weights are given in ``weights`` too (under ``<layer>.base_layer.weight``), because the network may hold
        them in a lower precision; of PiSSA they are what was left.
        """
        merged = _peft_layers.without_base_layers(weights, PREFIX)
        for name, layer in _layers(network).items():
            down = weights[f"{name}.lora_A.{ADAPTER}.weight"].float()
            up = weights[f"{name}.lora_B.{ADAPTER}.weight"].float()
            value = merged[f"{name}.weight"].float() + layer.scaling[ADAPTER] * (up @ down)
            length = weights.get(f"{name}.lora_magnitude_vector.{ADAPTER}.weight")
            if length is not None:
                value = value * (length.float() / value.norm(dim=1))[:, None]
            merged[f"{name}.weight"] = value
        return merged

    def save_adapter(self, network: nn.Module, weights: dict[str, Tensor], folder: Path, base_model: str) -> bool:
        """Write the adapters as PEFT does.

        Of PiSSA what was taken out is part of the update, which then stands beside the whole base weights, at twice the
        rank: ``[B, -B0] [A; A0] = B A - B0 A0``.
        """
        peft = _peft.load()
        import torch

        tensors = {name: value for name, value in weights.items() if f".{PREFIX}" in name}
        for name, (up, down) in self._taken.items():
            for key, taken, dim in ((f"{name}.lora_B", -up, 1), (f"{name}.lora_A", down, 0)):
                tensors[f"{key}.{ADAPTER}.weight"] = torch.cat([tensors[f"{key}.{ADAPTER}.weight"], taken], dim)
        shape = replace(self._shape.plain(2), pissa=False) if self._taken else self._shape
        named = shape.as_peft(lambda name: name.removeprefix(_peft_layers.MODEL))
        config = peft.LoraConfig(**named, lora_dropout=self.config.dropout, task_type=_peft_layers.task_of(network))
        _peft_folder.write(folder, config, tensors, base_model)
        return True


def _layers(network: nn.Module) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return _peft_layers.adapted_layers(network, LoraLayer)


CONFIG = LoraConfig
create = Lora
NEEDS_LINEAR_LAYERS = True
EXAMPLE = {"type": "lora", "rank": 4}
