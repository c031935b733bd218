"""Made-up tokens through a decoder: what its layers tell the attention function, and whether packed rows come out as
from transformers' own forward pass. Knows no data and no loss.

Shapes: T tokens, d hidden width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from feinschliff.errors import ModelError

if TYPE_CHECKING:
    from feinschliff.models.decoder import StagedDecoder

LISTENING = "feinschliff_listening"
TOLD = ("scaling", "sliding_window", "softcap")
POSITIONS = (0, 1, 2, 3, 50, 3_000, 100_000)
"""Of made-up tokens: some models change with the position, and far behind only."""
FULL, SLIDING = "full_attention", "sliding_attention"
LEAN_TOLERANCE = 1e-3
"""Largest difference of states that come out of a norm (so about 1) between lean layers and transformers' own."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a few made-up tokens."""

    states: Tensor
    told: list[dict[str, Any]]
    """To the attention function, call by call: those of ``TOLD`` that were given."""


def made_up(body: StagedDecoder, num_tokens: int) -> Tensor:
    """Ids [T], the same each time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(min(5, body.vocabulary_size - 1), body.vocabulary_size, (num_tokens,), generator=generator)


@torch.no_grad()
def seen(body: StagedDecoder) -> Seen:
    """States of one row at ``POSITIONS``.

    Raises:
        ModelError: its layers, or their attention, want what they are not given.
    """
    try:
        with _overheard(body) as told:
            states = body(made_up(body, len(POSITIONS)), torch.tensor(POSITIONS), None)
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise ModelError(
            f"the layers of a {body.model.config.model_type} model cannot be run one by one",
            where="model.source",
            why=str(error),
            remedy="choose another model",
        ) from error
    return Seen(states, told)


def same(one: Seen, other: Seen) -> bool:
    """Whether both computed the same in the same way."""
    return one.told == other.told and float((one.states - other.states).abs().max()) < LEAN_TOLERANCE


@contextmanager
def _overheard(body: StagedDecoder) -> Iterator[list[dict[str, Any]]]:
    """A list that grows with each call of the attention function."""
    heard: list[dict[str, Any]] = []
    before = body.attention
    attend = ALL_ATTENTION_FUNCTIONS[before]

    def listening(*inputs: Any, **given: Any) -> Any:
        heard.append({name: given[name] for name in TOLD if given.get(name) is not None})
        return attend(*inputs, **given)

    ALL_ATTENTION_FUNCTIONS[LISTENING] = listening
    body.attention = LISTENING
    try:
        yield heard
    finally:
        body.attention = before
        del ALL_ATTENTION_FUNCTIONS[LISTENING]


@torch.no_grad()
def largest_difference(body: StagedDecoder, packed_groups: Any, lengths: Sequence[int]) -> float:
    """Between made-up rows computed packed and each alone by transformers: of states, and of the first row's logits.

    Raises:
        ModelError: some layers see other tokens than all before, in a way that such short rows would not show.
    """
    _refuse_unheard(body, seen(body).told)
    ids, worst, begin = made_up(body, sum(lengths)), 0.0, 0
    together = body(ids, torch.cat([torch.arange(length) for length in lengths]), packed_groups)
    for length in lengths:
        part = slice(begin, begin + length)
        alone = body.model.model(input_ids=ids[None, part], use_cache=False).last_hidden_state[0]
        worst = max(worst, float((together[part] - alone * body.logit_scale).abs().max()))
        begin += length
    first = slice(0, lengths[0])
    logits = body.model(input_ids=ids[None, first], use_cache=False).logits[0]
    return max(worst, float((_logits(body, together[first]) - logits).abs().max()))


def _logits(body: StagedDecoder, states_Td: Tensor) -> Tensor:
    """As the loss computes them."""
    logits, cap = states_Td @ body.projection.weight.T, body.softcap
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _refuse_unheard(body: StagedDecoder, told: Sequence[dict[str, Any]]) -> None:
    """A window that layers have and the attention function is not told of would be a difference in long rows alone."""
    other = sorted({kind for kind in body.layer_kinds if kind not in ("", FULL, SLIDING)})
    window = getattr(body.model.config, "sliding_window", None)
    windowed = [kind == SLIDING or (kind == "" and window is not None) for kind in body.layer_kinds]
    unheard = len(told) != len(windowed) or any(
        has and "sliding_window" not in given for has, given in zip(windowed, told, strict=True)
    )
    if not other and not unheard:
        return
    raise ModelError(
        f"layers of a {body.model.config.model_type} model see other tokens than all before",
        where="model.source",
        why=f"kinds of layers: {', '.join(other)}"
        if other
        else "their attention has a window that cannot be handed on",
        remedy="choose another model",
    )
