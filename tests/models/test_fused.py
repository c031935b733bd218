"""Pieces with hand-written gradients against the modules of transformers and PEFT that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from feinschliff.models.fused import lora_linear, rms_norm, rotary

EPS = 1e-2
"""Large, so that leaving it out would be seen."""
NORMS: dict[str, tuple[Callable[..., Any], bool]] = {
    "llama": (LlamaRMSNorm, False),
    "qwen3": (Qwen3RMSNorm, False),
    "gemma2": (Gemma2RMSNorm, True),
    "gemma3": (Gemma3RMSNorm, True),
}


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()


def gradients(out: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    """By a random upstream gradient, the same each time."""
    upstream = random(*out.shape, seed=9).detach().to(out.dtype)
    return torch.autograd.grad(out, of, upstream)


def assert_same(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...], tolerance: float = 1e-5) -> None:
    """Outputs, their types, and gradients by all inputs."""
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    for mine, other in zip(gradients(ours, *inputs), gradients(theirs, *inputs), strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(7, 16), (5, 3, 16)], ids=["states", "heads"])
@pytest.mark.parametrize("family", NORMS)
def test_the_norm_is_that_of_transformers(family: str, shape: tuple[int, ...]) -> None:
    kind, plus_one = NORMS[family]
    norm, x = kind(16, eps=EPS), random(*shape)
    norm.weight.data = random(16, seed=1).detach()
    assert_same(rms_norm(x, norm.weight, EPS, plus_one), norm(x), (x, norm.weight))


@pytest.mark.parametrize("family", NORMS)
def test_the_norm_in_bf16(family: str) -> None:
    """Rounded where transformers rounds: the outputs have the same bits."""
    kind, plus_one = NORMS[family]
    norm, x = kind(16, eps=EPS).bfloat16(), random(50, 16, dtype=torch.bfloat16)
    norm.weight.data = random(16, seed=1).detach().bfloat16()
    ours, theirs = rms_norm(x, norm.weight, EPS, plus_one), norm(x)
    assert torch.equal(ours, theirs)
    for mine, other in zip(gradients(ours, x, norm.weight), gradients(theirs, x, norm.weight), strict=True):
        assert mine.dtype == other.dtype == torch.bfloat16
        assert float((mine.float() - other.float()).norm() / other.float().norm()) < 0.01


@pytest.mark.filterwarnings("ignore:Input #")
@pytest.mark.parametrize("plus_one", [False, True])
def test_gradients_of_the_norm_are_those_of_its_value(plus_one: bool) -> None:
    """Against differences of values. It computes in fp32 whatever it is given, so steps are large."""
    x, weight = random(3, 6), random(6, seed=1)

    def value(x: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(x, weight, EPS, plus_one)

    assert torch.autograd.gradcheck(value, (x, weight), eps=1e-2, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("trained", [0, 1])
def test_the_norm_gives_gradients_to_what_is_trained_alone(trained: int) -> None:
    given = [random(4, 8).detach(), random(8, seed=1).detach()]
    given[trained].requires_grad_()
    rms_norm(given[0], given[1], EPS).sum().backward()
    assert given[trained].grad is not None
    assert given[1 - trained].grad is None


def test_the_norm_leaves_its_input_as_it_was() -> None:
    x = random(4, 8)
    before = x.detach().clone()
    for plus_one in (False, True):
        rms_norm(x, random(8, seed=1), EPS, plus_one).sum().backward()
    assert torch.equal(x.detach(), before)


def angles(tokens: int, width: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, D] as rotary embeddings of transformers make them: both halves alike."""
    turns = torch.arange(tokens)[:, None] * 100.0 ** (-torch.arange(width // 2) / (width // 2))
    both = torch.cat([turns, turns], 1)
    return both.cos().to(dtype), both.sin().to(dtype)


def test_rotation_is_that_of_transformers() -> None:
    x, (cos, sin) = random(11, 3, 8), angles(11, 8)
    theirs, _ = apply_rotary_pos_emb(x.transpose(0, 1)[None], x.transpose(0, 1)[None], cos[None], sin[None])
    assert_same(rotary(x, cos, sin), theirs[0].transpose(0, 1), (x,))


def test_gradients_of_the_rotation_are_those_of_its_value() -> None:
    cos, sin = angles(5, 6, torch.float64)
    x = random(5, 2, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: rotary(x, cos, sin), (x,))


def lora(bias: bool, dtype: torch.dtype = torch.float32) -> Any:
    """A layer as PEFT makes them, with a B that is not zero."""
    net = nn.Sequential(nn.Linear(10, 6, bias=bias))
    peft.inject_adapter_in_model(peft.LoraConfig(r=3, lora_alpha=7.0, target_modules=["0"]), net)
    layer: Any = net[0].to(dtype)
    for number, part in enumerate((layer.base_layer, layer.lora_A["default"], layer.lora_B["default"])):
        part.weight.data = random(*part.weight.shape, seed=number + 1).detach().to(dtype)
    layer.base_layer.requires_grad_(False)
    return layer


def by_hand(layer: Any, x: Tensor) -> Tensor:
    base, a, b = layer.base_layer, layer.lora_A["default"].weight, layer.lora_B["default"].weight
    return lora_linear(x, base.weight, base.bias, a, b, layer.scaling["default"])


@pytest.mark.parametrize("bias", [False, True])
def test_the_update_of_a_linear_layer_is_that_of_peft(bias: bool) -> None:
    layer, x = lora(bias), random(13, 10)
    trained = (x, layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    assert layer.scaling["default"] == pytest.approx(7 / 3)
    assert_same(by_hand(layer, x), layer(x), trained)


def test_the_update_in_bf16_is_close() -> None:
    layer, x = lora(True, torch.bfloat16), random(13, 10, dtype=torch.bfloat16)
    trained = (x, layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    ours, theirs = by_hand(layer, x), layer(x)
    mine, other = ((out.detach(), *gradients(out, *trained)) for out in (ours, theirs))
    for one, expected in zip(mine, other, strict=True):
        assert one.dtype == torch.bfloat16
        assert float((one.float() - expected.float()).norm() / expected.float().norm()) < 0.01


@pytest.mark.parametrize("bias", [False, True])
def test_an_update_smaller_than_the_rounding_of_bf16_is_kept_in_the_mean(bias: bool) -> None:
    kinds = {"dtype": torch.bfloat16}
    x, weight, a, b = (
        random(*shape, seed=seed, **kinds).detach()
        for seed, shape in enumerate(((512, 64), (48, 64), (4, 64), (48, 4)))
    )
    b *= 2e-4
    offset = random(48, seed=9, **kinds).detach() if bias else None
    update = 2.0 * (x.double() @ a.double().T) @ b.double().T
    exact = x.double() @ weight.double().T + update + (0.0 if offset is None else offset.double())
    found = lora_linear(x, weight, offset, a, b, 2.0).double()
    assert float(update.abs().mean()) < 0.1 * float((found - exact + update).abs().max())
    kept = float((update * (found - exact + update)).sum() / update.square().sum())
    assert kept == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_of_the_update_are_those_of_its_value(bias: bool) -> None:
    x, a, b = (random(*shape, dtype=torch.float64) for shape in ((4, 5), (2, 5), (3, 2)))
    weight, offset = random(3, 5, dtype=torch.float64).detach(), random(3, dtype=torch.float64).detach()

    def value(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return lora_linear(x, weight, offset if bias else None, a, b, 1.7)

    assert torch.autograd.gradcheck(value, (x, a, b))


def test_below_the_lowest_adapter_no_gradient_is_computed() -> None:
    layer, x = lora(True), random(13, 10).detach()
    by_hand(layer, x).sum().backward()
    expected = lora(True)
    expected(x).sum().backward()
    for part in ("lora_A", "lora_B"):
        mine, other = (getattr(one, part)["default"].weight.grad for one in (layer, expected))
        torch.testing.assert_close(mine, other)
    assert x.grad is None
    assert layer.base_layer.weight.grad is None
