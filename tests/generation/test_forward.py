"""Ways through a model are compared with the model before they are used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from feinschliff.generation.forward import FEW_TOKENS, FILLED_TO, ModuleForward, Step, check, hides_kinds, make_step
from feinschliff.generation.kv_cache import Slab
from feinschliff.generation.ragged_attention import Section, Stretch
from tests.generation import tiny


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_modules_of_a_model_pass(kind: str) -> None:
    model = tiny.model(kind)
    assert check(ModuleForward(model), model, tiny.VOCABULARY) is None
    assert model.config._attn_implementation == "sdpa"


class Wrong:
    """A way that goes astray."""

    def __init__(self, model: Any, error: str) -> None:
        self.right, self.error = ModuleForward(model), error

    def __call__(self, step: Step) -> Tensor:
        if self.error == "positions" and any(isinstance(part, Section) for part in step.parts):
            step.positions_T = step.positions_T + 1
        if self.error == "reads the last token of a stretch twice":
            for part in step.parts:
                if isinstance(part, Stretch) and part.start:
                    part.start -= 1
        logits = self.right(step)
        return logits * float("nan") if self.error == "not a number" else logits


@pytest.mark.parametrize("error", ["positions", "reads the last token of a stretch twice", "not a number"])
def test_a_way_that_goes_astray_is_noticed(error: str) -> None:
    model = tiny.model("llama")
    assert "differ" in str(check(Wrong(model, error), model, tiny.VOCABULARY))


def test_windows_that_layers_do_not_tell_are_noticed() -> None:
    """The made-up rows are shorter than many a window, so numbers alone would not show it."""
    model = tiny.model("mistral")
    model.config.sliding_window = 100
    for layer in model.model.layers:
        layer.self_attn.forward = _without_window(layer.self_attn)
    assert check(ModuleForward(model), model, tiny.VOCABULARY) == "its layers do not say how far they see"


def _without_window(attention: Any) -> Any:
    plain, config = attention.forward, attention.config

    def forward(*given: Any, **named: Any) -> Any:
        window, config.sliding_window = config.sliding_window, None
        try:
            return plain(*given, **named)
        finally:
            config.sliding_window = window

    return forward


def test_layers_of_other_kinds_are_told_from_their_configuration() -> None:
    assert not hides_kinds(tiny.model("gemma3"))
    other = tiny.model("llama")
    other.config.layer_types = ["full_attention", "linear_attention", "full_attention"]
    assert hides_kinds(other)


def test_a_step_lays_rows_end_to_end_and_is_filled_up() -> None:
    slab = Slab(3)
    places = [slab.take() for _ in range(3)]
    for place, length in zip(places, (5, 9, 4), strict=True):
        place.length = length
    for place in places[:2]:
        slab.start_writing(place)
    tokens = list(range(100, 100 + FEW_TOKENS))
    step = make_step([(slab, [7, 8])], [(places[2], tokens, True)], torch.device("cpu"))
    assert len(step.ids_T) % FILLED_TO == 0
    assert step.ids_T[:4].tolist() == [7, 8, 100, 101]
    assert step.positions_T[:4].tolist() == [5, 9, 4, 5]
    assert step.last_m.tolist() == [0, 1, 1 + len(tokens)]
    assert slab.capacity >= 4 + len(tokens)
    unwanted = make_step([], [(places[2], [1, 2], False)], torch.device("cpu"))
    assert unwanted.last_m.tolist() == [0]


def test_the_attention_runs_within_a_step_only() -> None:
    model = tiny.model("llama")
    model.config._attn_implementation = "feinschliff_generation"
    with pytest.raises(TypeError, match="within a step"):
        model(torch.tensor([[3, 4]]))
