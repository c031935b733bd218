"""Which layers are computed by pieces of our own, and that whatever stands in a linear layer's place is obeyed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from feinschliff.models import decoder_probes, lean_layers
from feinschliff.models.decoder import StagedDecoder
from feinschliff.models.lean_layers import lean, linear
from tests.models.tiny_decoders import body_of

TOKENS, INPUTS, OUTPUTS = 7, 6, 5


def with_lora(**options: Any) -> Any:
    """A linear layer as PEFT changes it, with a B that is not zero."""
    net = nn.Sequential(nn.Linear(INPUTS, OUTPUTS))
    torch.manual_seed(0)
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, lora_alpha=5.0, target_modules=["0"], **options), net)
    layer: Any = net[0]
    nn.init.normal_(layer.lora_B["default"].weight)
    layer.base_layer.requires_grad_(False)
    return layer


def with_two() -> Any:
    layer = with_lora()
    layer.update_layer("other", 2, 5.0, peft.LoraConfig(r=2, init_lora_weights=False))
    layer.set_adapter(["default", "other"])
    return layer


def with_ia3() -> Any:
    net = nn.Sequential(nn.Linear(INPUTS, OUTPUTS))
    peft.inject_adapter_in_model(peft.IA3Config(target_modules=["0"], feedforward_modules=[]), net)
    nn.init.normal_(net[0].ia3_l["default"])  # type: ignore[index, union-attr]
    return net[0]


def switched_off() -> Any:
    layer = with_lora()
    layer.enable_adapters(False)
    return layer


def merged() -> Any:
    layer = with_lora()
    layer.merge()
    return layer


def with_hook() -> Any:
    layer = nn.Linear(INPUTS, OUTPUTS)
    layer.register_forward_hook(lambda _, __, out: 2.0 * out)
    return layer


def before_the_base() -> Any:
    """A hook on the layer that the adapter stands beside."""
    layer = with_lora()
    layer.base_layer.register_forward_hook(lambda _, __, out: 2.0 * out)
    return layer


def on_the_whole() -> Any:
    layer = with_lora()
    layer.register_forward_hook(lambda _, __, out: 2.0 * out)
    return layer


def trained_base() -> Any:
    layer = with_lora()
    layer.base_layer.requires_grad_(True)
    return layer


def trained_bias() -> Any:
    layer = with_lora()
    layer.base_layer.bias.requires_grad_(True)
    return layer


class Doubling(nn.Linear):
    """Not what its parent is."""

    def forward(self, input: Tensor) -> Tensor:
        return 2.0 * super().forward(input)


LAYERS: dict[str, tuple[Callable[[], Any], bool]] = {
    "plain": (lambda: nn.Linear(INPUTS, OUTPUTS), False),
    "another kind": (lambda: Doubling(INPUTS, OUTPUTS), False),
    "hook": (with_hook, False),
    "lora": (with_lora, True),
    "rslora": (lambda: with_lora(use_rslora=True), True),
    "dora": (lambda: with_lora(use_dora=True), False),
    "lora with bias": (lambda: with_lora(lora_bias=True), False),
    "lora with dropout": (lambda: with_lora(lora_dropout=0.5), False),
    "two adapters": (with_two, False),
    "switched off": (switched_off, False),
    "merged": (merged, False),
    "trained base": (trained_base, False),
    "trained bias": (trained_bias, False),
    "hook on the base": (before_the_base, False),
    "hook on the whole": (on_the_whole, False),
    "ia3": (with_ia3, False),
}


@pytest.mark.parametrize("case", LAYERS)
def test_a_linear_layer_gives_what_it_gives_by_itself(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By our own product where it is a plain update, and by its own forward where it is more."""
    made, by_hand = LAYERS[case]
    calls: list[int] = []
    product = lean_layers.lora_linear

    def counted(*given: Any) -> Tensor:
        calls.append(1)
        return product(*given)

    monkeypatch.setattr(lean_layers, "lora_linear", counted)
    layer = made()
    x = torch.randn(TOKENS, INPUTS, generator=torch.Generator().manual_seed(1)).requires_grad_()
    trained = [x, *(p for p in layer.parameters() if p.requires_grad)]
    outs = []
    for run in (lambda: linear(layer, x), lambda: layer(x)):
        torch.manual_seed(3)
        out = run()
        outs.append((out.detach(), *torch.autograd.grad(out.square().sum(), trained, allow_unused=True)))
    assert len(calls) == by_hand
    for ours, theirs in zip(*outs, strict=True):
        assert (ours is None) is (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def adapted(body: StagedDecoder, **options: Any) -> StagedDecoder:
    """With adapters on every linear layer of the blocks, as methods put them in."""
    body.requires_grad_(False)
    config = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, **options)
    torch.manual_seed(0)
    peft.inject_adapter_in_model(config, body)
    return body


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"lora_dropout": 0.3}], ids=str)
def test_adapters_put_in_later_are_found(options: dict[str, Any]) -> None:
    """Layers keep the names of transformers, so whatever is put into them is computed: as by layers left alone."""
    ours, theirs = (adapted(body_of("llama"), **options) for _ in range(2))
    for layer in theirs.layers:
        del layer.forward
    found = []
    for body in (ours, theirs):
        torch.manual_seed(1)
        states = body.train()(decoder_probes.made_up(body, 9), torch.arange(9), None)
        states.square().sum().backward()
        found.append({name: p.grad for name, p in body.named_parameters() if p.grad is not None})
        found[-1]["states"] = states.detach()
    assert len(found[0]) == len(found[1]) > 14
    for name, value in found[1].items():
        assert float((found[0][name] - value).norm()) <= 1e-5 * float(value.norm()), name


def test_an_unknown_part_keeps_the_layer_as_it_is() -> None:
    for place in ("", "self_attn", "mlp"):
        layer = body_of("llama").layers[0]
        assert lean(layer) is not None
        layer.get_submodule(place).add_module("something", nn.Identity())
        assert lean(layer) is None
    layer = body_of("llama").layers[0]
    layer.input_layernorm = nn.LayerNorm(32)
    assert lean(layer) is None


def test_known_names_that_do_something_else_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, what the attention function is told, and shapes that do not fit: layers keep their own forward then."""
    told = lean_layers._told
    changes: dict[str, Any] = {
        "_told": lambda attention: {**told(attention), "sliding_window": 10**5},
        "rotary": lambda x, cos, sin: x,
        "rms_norm": lambda x, weight, eps, plus_one: torch.zeros(3, 3),
    }
    body = body_of("llama")
    assert body.make_lean()
    for name, value in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(lean_layers, name, value)
            for layer in body.layers:
                layer.__dict__.pop("forward", None)
            assert not body.make_lean(), name
            assert not any("forward" in layer.__dict__ for layer in body.layers)
    assert body.make_lean()
