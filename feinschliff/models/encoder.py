"""A transformers encoder run on packed tokens, whole or between two layers. Alone knows families' module names.

Shapes: T tokens of all rows end to end, d hidden width. Knows no head, no data and no loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from feinschliff.errors import ModelError


@dataclass(frozen=True, slots=True)
class Family:
    """Where one architecture keeps its parts. All are post-norm: no norm follows the last layer."""

    embeddings: str
    layers: str
    positions_start_after_padding: bool
    attention: str = "attention.self"
    """In a layer: what calls the attention function."""
    attention_output: str = "attention.output.dense"
    """In a layer: the last linear map of the attention part; residual and norm follow."""
    feed_forward_output: str = "output.dense"
    """In a layer: the last linear map of the feed-forward part; residual and norm follow."""


_BERT = Family("embeddings", "encoder.layer", positions_start_after_padding=False)
_ROBERTA = Family("embeddings", "encoder.layer", positions_start_after_padding=True)
FAMILIES = {"bert": _BERT, "roberta": _ROBERTA, "xlm-roberta": _ROBERTA, "camembert": _ROBERTA}


def family_of(model_type: str) -> Family:
    """The family of a transformers ``model_type``.

    Raises:
        ModelError: this architecture cannot be cut into stages yet.
    """
    if model_type not in FAMILIES:
        raise ModelError(
            f"model type {model_type!r} is not supported for text classification yet",
            where="model.source",
            why="its layers and its classification head have no entry in feinschliff/models/encoder.py",
            remedy=f"choose an encoder of one of these types: {', '.join(sorted(FAMILIES))} (feinschliff models list)",
        )
    return FAMILIES[model_type]


class _Injected(nn.Module):
    """Stands in for the embeddings and gives hidden states that were computed before."""

    hidden: Tensor | None = None

    def forward(self, *_: Any, **__: Any) -> Tensor:
        """The injected states."""
        if self.hidden is None:
            raise RuntimeError("no hidden states were injected")
        return self.hidden


class StagedEncoder(nn.Module):
    """Runs layers ``start`` to ``stop`` of an encoder on tokens laid end to end."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.family = family = family_of(model.config.model_type)
        parent, _, self._layers_name = family.layers.rpartition(".")
        self._layers_parent = parent
        self._embeddings_name = family.embeddings
        self.num_layers = len(self.layers)
        self.hidden_width: int = model.config.hidden_size
        padding = model.config.pad_token_id or 0
        self.position_offset = padding + 1 if family.positions_start_after_padding else 0
        self._injected = _Injected()
        self.max_positions: int = model.config.max_position_embeddings - self.position_offset
        object.__setattr__(self, "_injected", _Injected())

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks, lowest first."""
        found: nn.ModuleList = getattr(self.model.get_submodule(self._layers_parent), self._layers_name)
        return found

    @property
    def embeddings(self) -> nn.Module:
        """Everything below the first block."""
        found: nn.Module = getattr(self.model, self._embeddings_name)
        return found

    def in_layers(self, path: str) -> list[str]:
        """Names in ``model`` of the module at ``path`` inside each block, lowest first (``path``: see ``Family``)."""
        return [f"{self.family.layers}.{layer}.{path}" for layer in range(self.num_layers)]

    def depth_of(self, name: str) -> int:
        """0 for a parameter of the embeddings, i + 1 for one of block i; ``name`` is relative to this module."""
        prefix = f"model.{self._layers_parent}.{self._layers_name}."
        return int(name[len(prefix) :].split(".", 1)[0]) + 1 if name.startswith(prefix) else 0

    def forward(
        self,
        ids_T: Tensor,
        positions_T: Tensor,
        segments_T: Tensor | None,
        packed_groups: Any,
        *,
        hidden_Td: Tensor | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Tensor:
        """Hidden states [T, d] after block ``stop - 1``; ``hidden_Td`` are the inputs of block ``start`` if > 0."""
        with self._between(start, self.num_layers if stop is None else stop, hidden_Td):
            out = self.model(
                input_ids=ids_T[None],
                position_ids=positions_T[None] + self.position_offset,
                token_type_ids=None if segments_T is None else segments_T[None],
                packed_groups=packed_groups,
            )
        states: Tensor = out.last_hidden_state[0]
        return states

    @contextmanager
    def _between(self, start: int, stop: int, hidden_Td: Tensor | None) -> Iterator[None]:
        if start == 0 and stop == self.num_layers and hidden_Td is None:
            yield
            return
        parent, layers, embeddings = self.model.get_submodule(self._layers_parent), self.layers, self.embeddings
        try:
            setattr(parent, self._layers_name, layers[start:stop])
            if hidden_Td is not None:
                self._injected.hidden = hidden_Td[None]
                setattr(self.model, self._embeddings_name, self._injected)
            yield
        finally:
            setattr(parent, self._layers_name, layers)
            setattr(self.model, self._embeddings_name, embeddings)
            self._injected.hidden = None

    def set_dropout(self, probability: float) -> None:
        """Set the probability of every dropout inside, attention's included."""
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability

    @torch.no_grad()
    def check_packing(self, packed_groups: Any, lengths: list[int]) -> float:
        """Largest difference between made-up rows computed packed and each alone: about 1e-6 where packing works."""
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(5, self.model.config.vocab_size, (sum(lengths),), generator=generator)
        positions = torch.cat([torch.arange(length) for length in lengths])
        together, worst, begin = self(ids, positions, None, packed_groups), 0.0, 0
        for length in lengths:
            part = slice(begin, begin + length)
            alone = self(ids[part], positions[part], None, None)
            worst = max(worst, float((together[part] - alone).abs().max()))
            begin += length
        return worst
