"""One step through a decoder of transformers: logits of chosen tokens of rows that lie end to end.

``ModuleForward`` runs the model's own modules, with this room's attention plugged in by name; any model whose attention
transformers lets be plugged in can be run so. Whether a model is computed rightly is never assumed: ``check`` compares
made-up rows with the model's plain forward. Knows no sampling and no request.

Shapes: T tokens of a step, m tokens whose logits are wanted, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from feinschliff.generation.kv_cache import Place, Slab
from feinschliff.generation.ragged_attention import Section, Shape, Stretch, attend, section

NAME = "feinschliff_generation"
FEW_TOKENS = 64
"""Steps of more tokens are filled up to a multiple of ``FILLED_TO``: kernels are compiled and kept per shape."""
FILLED_TO = 32
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-3, torch.bfloat16: 0.15, torch.float16: 0.05}
"""Allowed difference of logits between two ways to compute them, as a share of the logits' spread over the
vocabulary."""


@dataclass(slots=True)
class Step:
    """What is computed at once: the next token of generating rows and stretches of prompts."""

    ids_T: Tensor
    positions_T: Tensor
    last_m: Tensor
    """Tokens whose logits are wanted."""
    parts: list[Section | Stretch]


Forward = Callable[[Step], Tensor]
"""Logits [m, V] of a step, in the model's type; keys and values are written to the places of its parts."""


def make_step(
    slabs: Sequence[tuple[Slab, Sequence[int]]],
    stretches: Sequence[tuple[Place, Sequence[int], bool]],
    device: torch.device,
) -> Step:
    """A step of the generating rows of ``slabs`` (each with its rows' newest tokens) and of ``stretches`` of prompts.

    A stretch is a place, its next tokens, and whether the logits of its last token are wanted. Logits come in the order
    of the arguments. Lengths of the places are those before the step; who has computed it advances them.
    """
    ids: list[int] = []
    positions: list[int] = []
    last: list[int] = []
    parts: list[Section | Stretch] = []
    for slab, _ in slabs:
        slab.reserve(max(place.length for place in slab.places[: slab.num_writing]) + 1)
    for place, tokens, _ in stretches:
        place.slab.reserve(place.length + len(tokens))
    for slab, newest in slabs:
        parts.append(section(slab, len(ids), device))
        positions.extend(place.length for place in slab.places[: slab.num_writing])
        last.extend(range(len(ids), len(ids) + len(newest)))
        ids.extend(newest)
    for place, tokens, is_wanted in stretches:
        begin, end = len(ids), len(ids) + len(tokens)
        parts.append(Stretch(place, begin, end, place.length))
        positions.extend(range(place.length, place.length + len(tokens)))
        ids.extend(tokens)
        if is_wanted:
            last.append(end - 1)
    filling = -len(ids) % FILLED_TO if len(ids) > FEW_TOKENS else 0
    ids.extend([0] * filling)
    positions.extend([0] * filling)
    ids_T, positions_T, last_m = (torch.tensor(x, device=device) for x in (ids, positions, last or [0]))
    return Step(ids_T, positions_T, last_m, parts)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    generation_step: Step | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls. ``query`` etc. are [1, H, T, D]; returns [1, T, H, D]."""
    if generation_step is None:
        raise TypeError(f"the {NAME} attention runs within a step of generation only")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    out = attend(module.layer_idx, q, k, v, generation_step.parts, Shape(scale, sliding_window, given.get("softcap")))
    return out[None], None


def _no_mask(*_: Any, **__: Any) -> None:
    """Boundaries come with the step, so no mask is built."""


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _no_mask)


class ModuleForward:
    """The model's own modules on packed tokens."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, step: Step) -> Tensor:
        """See ``Forward``."""
        with _own_attention(self.model):
            logits: Tensor = self.model(
                input_ids=step.ids_T[None],
                position_ids=step.positions_T[None],
                use_cache=False,
                logits_to_keep=step.last_m,
                generation_step=step,
            ).logits[0]
        return logits


def hides_kinds(model: Any) -> bool:
    """Whether layers are of kinds that masks or caches of transformers make, and nothing else would."""
    return bool(set(_text_config(model).get("layer_types") or []) - {"full_attention", "sliding_attention"})


def _has_windows(model: Any) -> bool:
    config = _text_config(model)
    return config.get("sliding_window") is not None and "sliding_attention" in config.get(
        "layer_types", ["sliding_attention"]
    )


def _text_config(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.config.get_text_config().to_dict()
    return found


@contextmanager
def _own_attention(model: Any) -> Iterator[None]:
    before = model.config._attn_implementation
    try:
        model.config._attn_implementation = NAME
        yield
    finally:
        model.config._attn_implementation = before


@torch.inference_mode()
def check(forward: Forward, model: nn.Module, vocabulary_size: int) -> str | None:
    """Whether ``forward`` gives the model's own logits for made-up rows: None, or what is wrong.

    Three rows of unequal length are read, one of them in two stretches, then each generates two tokens, packed with the
    others.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(vocabulary_size, (length,), generator=generator).tolist() for length in (9, 5, 12)]
    slab = Slab(len(rows))
    places = [slab.take() for _ in rows]
    forward(make_step([], [(places[2], rows[2][:4], False)], device))
    places[2].length = 4
    given = [rows[0][:-2], rows[1][:-2], rows[2][4:-2]]
    found = [forward(make_step([], [(place, ids, True) for place, ids in zip(places, given, strict=True)], device))]
    for place, row in zip(places, rows, strict=True):
        place.length = len(row) - 2
        slab.start_writing(place)
    windows: set[int | None] = set()
    for back in (2, 1):
        step = make_step([(slab, [row[-back] for row in rows])], [], device)
        found.append(forward(step))
        windows |= {window for part in step.parts if isinstance(part, Section) for window, _ in part.biases}
        for place in places:
            place.length += 1
    if _has_windows(model) and windows == {None}:  # masks say it elsewhere
        return "its layers do not say how far they see"
    return _difference(torch.stack(found, 1), model, rows)


def _difference(found_B3V: Tensor, model: Any, rows: list[list[int]]) -> str | None:
    shares: list[float] = []
    for found, row in zip(found_B3V.float(), rows, strict=True):
        ids = torch.tensor([row], device=found.device)
        wanted = model(input_ids=ids, use_cache=False).logits[0, -3:].float()
        spread = float(wanted.std(-1).mean())
        shares.append(float((found - wanted).square().mean().sqrt()) / max(spread, 1e-12))
    if all(share <= TOLERANCES.get(found_B3V.dtype, 1e-3) for share in shares):  # which not-a-number is not
        return None
    return f"logits of made-up rows differ by {max(shares):.2g} of their spread"
