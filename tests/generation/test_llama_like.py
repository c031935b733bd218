"""Lean layers: the logits of the modules, for every family; others are left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from feinschliff.generation.forward import ModuleForward, check, make_step
from feinschliff.generation.kv_cache import Slab
from feinschliff.generation.llama_like import FAMILIES, Norm, Product, lean_forward
from tests.generation import tiny

KINDS = [kind for kind in tiny.KINDS if kind != "gpt2"]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_modules_to_rounding(kind: str) -> None:
    model = tiny.model(kind)
    lean = lean_forward(model, torch.float32)
    assert lean is not None
    assert check(lean, model, tiny.VOCABULARY) is None
    prompt = tiny.prompts(40)[0]
    found = []
    with torch.inference_mode():
        for forward in (lean, ModuleForward(model)):
            place = Slab(1).take()
            found.append(forward(make_step([], [(place, prompt, True)], torch.device("cpu"))))
    assert torch.allclose(found[0], found[1], atol=1e-4 * float(found[1].abs().max()))


def test_every_family_is_tried() -> None:
    assert set(FAMILIES) == {type(tiny.model(kind)).__name__ for kind in KINDS}


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
    ],
    ids=["activation", "rotation"],
)
def test_what_is_not_known_is_left_alone(changes: dict[str, Any]) -> None:
    assert lean_forward(tiny.model("llama", **changes), torch.float32) is None
    assert lean_forward(tiny.model("gpt2"), torch.float32) is None


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 50},
    ],
    ids=lambda rope: rope["rope_type"],
)
def test_scaled_rotations(rope: dict[str, Any]) -> None:
    model = tiny.model("llama", rope_parameters={"rope_theta": 1e4, **rope})
    lean = lean_forward(model, torch.float32)
    assert lean is not None
    assert check(lean, model, tiny.VOCABULARY) is None


def test_tied_embeddings_and_biases() -> None:
    model = tiny.model("llama", tie_word_embeddings=True, attention_bias=True, mlp_bias=True)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    lean = lean_forward(model, torch.float32)
    assert lean is not None
    assert check(lean, model, tiny.VOCABULARY) is None


@pytest.mark.parametrize("rows", [1, 16, 130])
@pytest.mark.parametrize("biased", [False, True])
def test_packed_products_are_those_of_bf16(rows: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(size, 96, generator=generator).bfloat16() for size in (rows, 40))
    bias = torch.randn(40, generator=generator).bfloat16() if biased else None
    with torch.inference_mode():
        found = Product(weight, bias, torch.bfloat16)(x).float()
    wanted = torch.nn.functional.linear(x.float(), weight.float(), None if bias is None else bias.float())
    assert torch.allclose(found, wanted, atol=0.15, rtol=0.01)


@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_the_norm_is_the_root_mean_square_one(eps: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 48, generator=generator) * 1e-2, torch.randn(48, generator=generator)
    wanted = torch.nn.functional.rms_norm(x, (48,), weight, eps)
    assert torch.allclose(Norm(weight, eps, torch.float32)(x), wanted, atol=1e-6)
    assert Norm(weight, eps, torch.bfloat16)(x).dtype == torch.bfloat16


def test_weights_are_read_again() -> None:
    model = tiny.model("qwen3")
    lean = lean_forward(model, torch.float32)
    assert lean is not None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.2)
    assert check(lean, model, tiny.VOCABULARY) is not None
    lean.refresh()
    assert check(lean, model, tiny.VOCABULARY) is None
