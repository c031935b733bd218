"""fp32 masters behind bf16 weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from feinschliff.engine.precision import MasterWeights, choose


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.body[0].requires_grad_(False)
        self.head = nn.Linear(4, 2)


def test_in_fp32_masters_are_the_weights() -> None:
    network = Small()
    masters = MasterWeights(network, network.body, torch.float32)
    assert masters.names == ["body.1.weight", "body.1.bias", "head.weight", "head.bias"]
    assert all(a is b for a, b in zip(masters.masters, masters.working, strict=True))


def test_in_bf16_the_body_computes_rounded_and_masters_keep_every_bit() -> None:
    network, before = Small(), Small()
    masters = MasterWeights(network, network.body, torch.bfloat16)
    assert {p.dtype for p in network.body.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in network.head.parameters()} == {torch.float32}
    named = masters.named()
    assert torch.equal(named["body.1.weight"], before.body[1].weight)
    with torch.no_grad():
        masters.masters[0].add_(1e-4)  # less than a bf16 weight can show
    masters.publish()
    assert torch.equal(network.body[1].weight, (before.body[1].weight + 1e-4).bfloat16())
    for _ in range(50):
        with torch.no_grad():
            masters.masters[0].add_(1e-4)
    masters.publish()
    assert float((network.body[1].weight.float() - before.body[1].weight).abs().min()) > 1e-3


def test_nothing_of_what_was_loaded_is_kept_alive() -> None:
    """Weights are views of one mapped file: the last of them keeps all its pages."""
    network = Small()
    loaded = [p.detach().data_ptr() for p in network.body.parameters()]
    masters = MasterWeights(network, network.body, torch.bfloat16)
    kept = {t.data_ptr() for t in (*masters.masters, *network.body.parameters())}
    assert not kept & set(loaded)


def test_gradients_add_up_in_fp32_and_go_away() -> None:
    network = Small()
    masters = MasterWeights(network, network.body, torch.bfloat16)
    for value in (1.0, 2.0**-10):  # their sum has no bf16 number
        for weight in masters.working:
            weight.grad = torch.full_like(weight, value) if weight.dtype == torch.bfloat16 else weight.grad
        masters.collect_gradients()
    assert masters.masters[0].grad is not None
    assert float(masters.masters[0].grad[0, 0]) == 1.0 + 2.0**-10
    assert masters.working[0].grad is None
    masters.discard_gradients()
    assert masters.masters[0].grad is None


def test_loading_wants_every_weight() -> None:
    network = Small()
    masters = MasterWeights(network, network.body, torch.bfloat16)
    values = {name: torch.full_like(value, 0.5) for name, value in masters.named().items()}
    masters.load(values)
    assert float(network.body[1].weight[0, 0]) == 0.5
    del values["head.bias"]
    with pytest.raises(KeyError, match=r"head\.bias"):
        masters.load(values)


@pytest.mark.parametrize(("seconds", "chosen"), [((2.0, 1.0), "bf16"), ((1.1, 1.0), "fp32"), ((1.0, 3.0), "fp32")])
def test_the_choice_follows_the_measurement(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], chosen: str
) -> None:
    times = dict(zip((torch.float32, torch.bfloat16), seconds, strict=True))
    monkeypatch.setattr("feinschliff.engine.precision._seconds", lambda dtype, *_: times[dtype])
    name, why = choose(torch.device("cpu"), 32)
    assert name == chosen
    assert f"{seconds[0] / seconds[1]:.1f} times" in why
