"""Frozen layers in 4 and 8 bits: the published values, bitsandbytes' bytes, bounded errors, autograd's gradients."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor, nn

from feinschliff.models import lean_layers, nf4_kernel, quantised
from feinschliff.models.lean_layers import linear
from feinschliff.models.quantised import (
    NF4,
    PACK,
    UNPACK,
    Kind,
    Packed,
    QuantisedLinear,
    pack_nf4,
    plain_nf4,
    quantise,
    unpack_nf4,
)
from tests.models.tiny_decoders import body_of

KINDS: tuple[Kind, ...] = ("int8", "nf4")
BITSANDBYTES = [
    *(122, 101, 154, 85, 169, 70, 183, 57, 180, 75, 163, 92, 114, 141, 66, 204),
    *(36, 217, 24, 229, 28, 210, 62, 161, 110, 81, 190, 33, 236, 5, 247, 10),
]
"""What it made of the block below."""


def weights(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def layer_of(kind: Kind, rows: int = 5, columns: int = 6, bias: bool = True) -> tuple[nn.Linear, QuantisedLinear]:
    torch.manual_seed(1)
    plain = nn.Linear(columns, rows, bias=bias).requires_grad_(False)
    return plain, QuantisedLinear(plain, kind)


def test_the_values_are_quantiles_of_a_normal_distribution() -> None:
    """As the paper makes them: eight quantiles above zero, seven below, zero itself, scaled to one."""
    end = 0.9677083
    above = norm.ppf(torch.linspace(end, 0.5, 9)[:-1])
    below = -norm.ppf(torch.linspace(end, 0.5, 8)[:-1])
    made = torch.tensor(sorted([*above, 0.0, *below]), dtype=torch.float32)
    torch.testing.assert_close(made / made.max(), torch.tensor(NF4), rtol=0.0, atol=1e-6)


def test_each_weight_gets_the_nearest_value_of_its_block() -> None:
    weight = weights(7, 33)
    whole = unpack_nf4(pack_nf4(weight), (7, 33), torch.float32).view(-1)
    for begin in range(0, weight.numel(), 64):
        block = weight.view(-1)[begin : begin + 64]
        values = torch.tensor(NF4) * block.abs().max()
        nearest = values[(block[:, None] - values).abs().argmin(1)]
        torch.testing.assert_close(whole[begin : begin + 64], nearest, rtol=0.0, atol=1e-7)


def test_bytes_are_those_that_bitsandbytes_wrote() -> None:
    """Of bitsandbytes 0.50.2 on a CPU, for this block; the comparison with the library itself is the next test."""
    block = torch.sin(torch.arange(64) * 1.7) * (1.0 + torch.arange(64) / 16)
    packed = pack_nf4(block[None])
    assert packed.codes.tolist() == BITSANDBYTES
    assert packed.scales.tolist() == [float(block.abs().max())]


@pytest.mark.parametrize("shape", [(64, 128), (96, 576), (7, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bytes_scales_and_values_equal_bitsandbytes(shape: tuple[int, int], dtype: torch.dtype) -> None:
    import bitsandbytes.functional as theirs

    weight = weights(*shape).to(dtype)
    codes, state = theirs.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    packed, whole_bytes = pack_nf4(weight), weight.numel() // 2
    assert torch.equal(packed.codes[:whole_bytes], codes.view(-1)[:whole_bytes])
    assert torch.equal(packed.scales, state.absmax)
    assert torch.equal(plain_nf4(packed.codes, packed.scales, 64, shape, dtype), theirs.dequantize_4bit(codes, state))


@pytest.fixture
def kernel() -> Iterator[Callable[[], nf4_kernel.Kernel]]:
    """Looked for anew."""

    def found() -> nf4_kernel.Kernel:
        nf4_kernel.kernel.cache_clear()
        return nf4_kernel.kernel("cpu", plain_nf4)

    yield found
    nf4_kernel.kernel.cache_clear()


@pytest.mark.parametrize("shape", [(64, 128), (96, 576), (7, 33), (1, 3), (16, 32), (5, 48), (3, 96), (40, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_gives_what_plain_torch_gives(
    shape: tuple[int, int], dtype: torch.dtype, kernel: Callable[[], nf4_kernel.Kernel]
) -> None:
    found = kernel()
    assert "by bitsandbytes' kernel" in found.sentence
    assert found.unpack is not None
    packed = pack_nf4(weights(*shape) * torch.logspace(-3, 3, shape[0])[:, None])
    given: Any = (packed.codes, packed.scales, 64, shape, dtype)
    assert torch.equal(found.unpack(*given), plain_nf4(*given))
    assert torch.equal(found.unpack(*given), unpack_nf4(packed, shape, dtype))


def test_loading_the_kernel_says_and_fetches_nothing() -> None:
    """In a process of its own: the library is imported once."""
    program = (
        "import sys, types\n"
        "kernels = types.ModuleType('kernels')\n"
        "kernels.get_kernel = lambda *a, **k: print('fetched')\n"
        "sys.modules['kernels'] = kernels\n"
        "from feinschliff.models import nf4_kernel\n"
        "from feinschliff.models.quantised import plain_nf4\n"
        "assert nf4_kernel.kernel('cpu', plain_nf4).unpack\n"
        "assert sys.modules['kernels'] is kernels\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_kernel_that_is_not_there_or_does_not_fit_is_left_alone(
    kernel: Callable[[], nf4_kernel.Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Tensor:
        raise RuntimeError("libcudart.so.13 is not there\nsee above")

    packed = pack_nf4(weights(6, 128))
    expected = unpack_nf4(packed, (6, 128), torch.float32)
    for name, instead, reason in (
        ("_unpack", broken, "does not work here (RuntimeError: libcudart.so.13 is not there)"),
        ("_unpack", lambda *given: plain_nf4(*given) * 1.001, "gives other values here"),
        ("importlib.util.find_spec", lambda _: None, "pip install 'feinschliff[qlora]'"),
    ):
        monkeypatch.setattr(f"feinschliff.models.nf4_kernel.{name}", instead)
        found = kernel()
        assert found.unpack is None
        assert "by plain torch" in found.sentence
        assert reason in found.sentence
        assert torch.equal(unpack_nf4(packed, (6, 128), torch.float32), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_bounded(kind: Kind) -> None:
    """By half the widest gap between two values, of the block's or row's largest magnitude."""
    weight = weights(32, 192) * torch.logspace(-3, 3, 32)[:, None]
    whole = UNPACK[kind](PACK[kind](weight), (32, 192), torch.float32)
    if kind == "int8":
        bound = weight.abs().amax(1, keepdim=True) / 254
    else:
        bound = (1.0 - 0.6961928) / 2 * weight.view(-1, 64).abs().amax(1).repeat_interleave(64).view(32, 192)
    assert bool(((weight - whole).abs() <= bound * (1 + 1e-5)).all())
    relative = float((weight - whole).norm() / weight.norm())
    assert 0.0 < relative < (0.01 if kind == "int8" else 0.11)
    again = UNPACK[kind](PACK[kind](whole), (32, 192), torch.float32)
    torch.testing.assert_close(again, whole, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_zeros_and_chunks_join(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = weights(9, 100)
    weight[:3] = 0.0
    monkeypatch.setattr(nf4_kernel, "kernel", lambda *_: nf4_kernel.Kernel(None, ""))
    packed = PACK[kind](weight)
    at_once = UNPACK[kind](packed, (9, 100), torch.float32)
    assert bool((at_once[:3][:, :60] == 0).all())
    assert bool(torch.isfinite(at_once).all())
    monkeypatch.setattr(quantised, "CHUNK", 128)
    assert torch.equal(UNPACK[kind](packed, (9, 100), torch.float32), at_once)
    assert torch.equal(UNPACK[kind](packed, (9, 100), torch.bfloat16), at_once.bfloat16())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_gives_what_its_whole_weights_give(kind: Kind, dtype: torch.dtype) -> None:
    """Output and gradients to the bit, of any leading shape; a bias that is trained gets its gradient."""
    _, layer = layer_of(kind)
    layer.bias.requires_grad_(True)
    x = weights(8, 6, 2).view(2, 4, 6).to(dtype).requires_grad_()
    plain = F.linear(x, layer.whole(dtype), layer.bias.to(dtype))
    for ours, theirs in zip(
        (layer(x), *torch.autograd.grad(layer(x).float().square().sum(), [x, layer.bias])),
        (plain, *torch.autograd.grad(plain.float().square().sum(), [x, layer.bias])),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6 if dtype == torch.float32 else 1e-2, atol=1e-6)


def adapted(layer: nn.Module, **options: Any) -> Any:
    """With a LoRA adapter of PEFT around it whose B is not zero."""
    net = nn.Sequential(layer)
    torch.manual_seed(0)
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, lora_alpha=5.0, target_modules=["0"], **options), net)
    found: Any = net[0]
    nn.init.normal_(found.lora_B["default"].weight)
    found.base_layer.requires_grad_(False)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["plain", "dora", "dropout", "eval"])
def test_gradients_with_adapters_are_autograds(kind: Kind, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside PEFT's own forward around an ``nn.Linear`` that holds the dequantised weights; by our product if plain."""
    calls: list[int] = []
    product = lean_layers.lora_linear
    monkeypatch.setattr(lean_layers, "lora_linear", lambda *given: calls.append(1) or product(*given))  # type: ignore[func-returns-value]
    options = {"dora": {"use_dora": True}, "dropout": {"lora_dropout": 0.5}}.get(case, {})
    plain, layer = layer_of(kind)
    plain.weight.data = layer.whole(torch.float32)
    x, outs = weights(7, 6, 3).requires_grad_(), []
    for base, run in ((layer, linear), (plain, lambda module, x: module(x))):
        around = adapted(base, **options).train(case != "eval")
        trained = [x, *(p for p in around.parameters() if p.requires_grad)]
        torch.manual_seed(3)
        out = run(around, x)
        outs.append((out.detach(), *torch.autograd.grad(out.square().sum(), trained)))
    assert len(calls) == (case in ("plain", "eval"))
    assert len(outs[0]) == len(outs[1]) >= 4
    for ours, theirs in zip(*outs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lora", [False, True])
def test_nothing_of_full_size_is_kept_for_the_backward_pass(lora: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices made whole are gone after each pass."""
    _, layer = layer_of("nf4", 64, 64)
    made: list[weakref.ref[Tensor]] = []
    whole = QuantisedLinear.whole

    def watched(self: QuantisedLinear, dtype: torch.dtype) -> Tensor:
        found = whole(self, dtype)
        made.append(weakref.ref(found))
        return found

    module = adapted(layer) if lora else layer
    monkeypatch.setattr(QuantisedLinear, "whole", watched)
    x = weights(3, 64).requires_grad_()
    out = linear(module, x)
    gc.collect()
    assert len(made) == 1
    assert made[0]() is None
    out.sum().backward()
    gc.collect()
    assert len(made) == 2, "made again for the gradient"
    assert made[1]() is None


@pytest.mark.parametrize(("kind", "bits"), [("int8", 8.0), ("nf4", 4.0)])
def test_a_decoders_linear_layers_take_the_bits_they_are_said_to(kind: Kind, bits: float) -> None:
    body = body_of("llama", hidden_size=128, intermediate_size=256, head_dim=32)
    before = {n: m.weight.detach().clone() for n, m in body.named_modules() if type(m) is nn.Linear}
    embeddings = body.model.get_input_embeddings().weight
    held = quantise(body, kind)
    layers = {n: m for n, m in body.named_modules() if isinstance(m, QuantisedLinear)}
    assert layers.keys() == before.keys()
    assert held.layers == len(before) == 14
    assert held.weights == sum(weight.numel() for weight in before.values())
    stored = sum(b.numel() * b.element_size() for layer in layers.values() for b in layer.buffers())
    scales = held.weights // 64 if kind == "nf4" else sum(len(weight) for weight in before.values())
    assert held.num_bytes == stored == held.weights * bits / 8 + 4 * scales
    if kind == "nf4":
        assert held.weights * 4 / stored == pytest.approx(32 / 4.5)
    assert not any(name.endswith("proj.weight") for name, _ in body.named_parameters())
    assert body.model.get_input_embeddings().weight is embeddings
    assert body.projection.weight.dtype == torch.float32
    errors = [float((layers[n].weight - weight).norm() / weight.norm()) for n, weight in before.items()]
    assert held.relative_error == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_casting_parameters_leaves_codes_and_scales_alone() -> None:
    plain, layer = layer_of("nf4", 8, 64)
    for parameter in layer.parameters():
        parameter.data = parameter.data.bfloat16()
    assert (layer.codes.dtype, layer.scales.dtype, layer.weight.dtype) == (torch.uint8, torch.float32, torch.bfloat16)
    assert [name for name, _ in layer.named_parameters()] == ["bias"]
    assert layer.state_dict().keys() == {"bias"}
    assert torch.equal(layer.whole(torch.float32), unpack_nf4(Packed(*pack_nf4(plain.weight)), (8, 64), torch.float32))
