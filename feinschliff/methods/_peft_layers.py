"""PEFT's layers in a network: which linear layers get one, how they are put in and switched off. Knows no formula."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from feinschliff.errors import ConfigError
from feinschliff.methods import _peft
from feinschliff.methods._method import is_head
from feinschliff.methods._names import kinds

if TYPE_CHECKING:
    from torch import Tensor, nn

ADAPTER = "default"
"""PEFT keeps adapters by name; here there is one."""
BODY = "body."
MODEL = "model."
"""A body keeps its transformers model under this name; PEFT's files call layers as that model does."""


def linear_layers(body: nn.Module) -> dict[str, Any]:
    """Every linear layer of a body by name."""
    from torch import nn

    return {name: module for name, module in body.named_modules() if isinstance(module, nn.Linear)}


def with_ends(names: Iterable[str], ends: Sequence[str], where: str) -> list[str]:
    """The names with one of the ends; all where no end is given.

    Raises:
        ConfigError: there is none; what exists is listed.
    """
    names = list(names)
    if not names:
        raise ConfigError(
            "this model has no linear layers below its head",
            where="method.type",
            why="it is made of convolutions",
            remedy="choose full, frozen_layers, gradual_unfreezing or bitfit",
        )
    chosen = [name for name in names if not ends or any(name.endswith(end) for end in ends)]
    if not chosen:
        raise ConfigError(
            f"no linear layer is named {' or '.join(map(repr, ends))}",
            where=where,
            remedy=f"names that exist end in: {', '.join(sorted({name.rpartition('.')[2] for name in names}))}",
            why=f"linear layers here: {', '.join(kinds(name.removeprefix(MODEL) for name in names))}",
        )
    return chosen


def inject(network: Any, config: Any, prefix: str) -> None:
    """Freeze the network, put PEFT's layers into its body, and let them and the head be trained.

    ``prefix`` is what the names of PEFT's parameters begin with.
    """
    peft = _peft.load()

    network.requires_grad_(False)
    peft.inject_adapter_in_model(config, network.body, adapter_name=ADAPTER)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(f".{prefix}" in name or is_head(network, name))


def adapted_layers(network: nn.Module, kind: type) -> dict[str, Any]:
    """PEFT's layers of a kind by their name in the network, which is that of the layer they stand around."""
    return {name: module for name, module in network.named_modules() if isinstance(module, kind)}


def task_of(network: Any) -> str:
    """PEFT's name for what the plain transformers model is used for."""
    from feinschliff.models.encoder_decoder import StagedEncoderDecoder

    return "SEQ_2_SEQ_LM" if isinstance(network.body, StagedEncoderDecoder) else "FEATURE_EXTRACTION"


@contextmanager
def switched_off(layers: Iterable[Any]) -> Iterator[None]:
    """The layers compute what they stand around.

    What is trained stays marked so: PEFT would freeze it, and a network would take its frozen prefix to be longer.
    """
    layers = list(layers)
    trained = [p for layer in layers for p in layer.parameters() if p.requires_grad]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def without_base_layers(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights under the base network's names, those of adapters left out."""
    return {name.replace(".base_layer.", "."): value for name, value in weights.items() if f".{prefix}" not in name}
