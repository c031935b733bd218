"""Groups by depth, AdamW with a factor per group, clipping."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from feinschliff.config.training import TrainingConfig
from feinschliff.engine.contracts import ParameterGroup
from feinschliff.engine.optimizers import GroupedAdamW, layer_wise_groups
from feinschliff.engine.step import divide_and_clip

SHAPES = [
    ("table", 2, 0),
    ("norm0", 1, 0),
    ("layer1.weight", 2, 1),
    ("layer1.bias", 1, 1),
    ("layer2.weight", 2, 2),
    ("head.weight", 2, 3),
    ("head.bias", 1, 3),
]


def groups_of(training: TrainingConfig) -> dict[str, tuple[float, float]]:
    depths = {name: depth for name, _, depth in SHAPES}
    groups = layer_wise_groups([(name, ndim) for name, ndim, _ in SHAPES], depths.__getitem__, training)
    named = {name: (group.learning_rate_factor, group.weight_decay) for group in groups for name in group.names}
    assert sum(len(group.names) for group in groups) == len(named) == len(SHAPES)
    return named


def test_layer_wise_rates_and_decay() -> None:
    training = TrainingConfig(layer_learning_rate_decay=0.5, head_learning_rate_multiplier=20.0, weight_decay=0.01)
    assert groups_of(training) == {
        "head.weight": (20.0, 0.01),
        "head.bias": (20.0, 0.0),
        "layer2.weight": (1.0, 0.01),
        "layer1.weight": (0.5, 0.01),
        "layer1.bias": (0.5, 0.0),
        "table": (0.25, 0.0),
        "norm0": (0.25, 0.0),
    }


def test_without_layer_decay_the_whole_body_has_one_rate() -> None:
    rates = {name: rate for name, (rate, _) in groups_of(TrainingConfig()).items()}
    assert {rate for name, rate in rates.items() if "head" not in name} == {1.0}


def test_adamw_equals_torchs_with_scaled_rates() -> None:
    torch.manual_seed(0)
    ours = {name: nn.Parameter(torch.randn(3, 3)) for name in ("a", "b")}
    theirs = {name: nn.Parameter(value.detach().clone()) for name, value in ours.items()}
    training = TrainingConfig()
    groups = [ParameterGroup(("a",), 20.0, 0.1), ParameterGroup(("b",), 0.5, 0.0)]
    optimizer = GroupedAdamW(ours, groups, 1e-3, training)
    reference = torch.optim.AdamW(
        [{"params": [theirs["a"]], "weight_decay": 0.1}, {"params": [theirs["b"]], "weight_decay": 0.0}], lr=1.0
    )
    for factor in (0.5, 1.0, 0.25):
        for name, value in ours.items():
            value.grad = torch.randn(3, 3)
            theirs[name].grad = value.grad.clone()
        for group, rate in zip(reference.param_groups, (2e-2, 5e-4), strict=True):
            group["lr"] = rate * factor
        optimizer.step(factor)
        reference.step()
    for name, value in ours.items():
        assert value.grad is None
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-7)


def test_state_goes_to_another_optimizer_and_on_to_the_same_bits() -> None:
    def start() -> tuple[nn.Parameter, GroupedAdamW]:
        value = nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3))
        return value, GroupedAdamW(
            {"layer.w": value}, [ParameterGroup(("layer.w",), 1.0, 0.01)], 1e-2, TrainingConfig()
        )

    def step(value: nn.Parameter, optimizer: GroupedAdamW, number: int) -> None:
        value.grad = torch.full((2, 3), 0.1 * number - 0.2)
        optimizer.step(1.0)

    value, optimizer = start()
    for number in range(5):
        step(value, optimizer, number)
    half, first = start()
    for number in range(3):
        step(half, first, number)
    other, second = start()
    other.data.copy_(half.data)
    second.load({name: tensor.clone() for name, tensor in first.state().items()})
    for number in range(3, 5):
        step(other, second, number)
    assert torch.equal(other, value)


@pytest.mark.parametrize("limit", [0.05, 1.0, 100.0])
def test_clipping_equals_torchs(limit: float) -> None:
    torch.manual_seed(1)
    values = [nn.Parameter(torch.zeros(4, 5)), nn.Parameter(torch.zeros(7)), nn.Parameter(torch.zeros(2))]
    sums = [torch.randn(value.shape) * 3 for value in values]
    for value, grad in zip(values, sums, strict=True):
        value.grad = grad / 12
    expected_norm = float(torch.nn.utils.clip_grad_norm_(values, limit))
    expected = [value.grad.clone() for value in values if value.grad is not None]
    for value, grad in zip(values, sums, strict=True):
        value.grad = grad.clone()
    unused = nn.Parameter(torch.zeros(3))
    norm = divide_and_clip([*values, unused], 12, limit)
    assert norm == pytest.approx(expected_norm, rel=1e-6)
    for value, grad in zip(values, expected, strict=True):
        torch.testing.assert_close(value.grad, grad, rtol=1e-6, atol=1e-8)
    assert unused.grad is None


def test_without_limit_gradients_are_only_divided() -> None:
    value = nn.Parameter(torch.zeros(3))
    value.grad = torch.tensor([30.0, -60.0, 90.0])
    divide_and_clip([value], 3, None)
    assert value.grad.tolist() == [10.0, -20.0, 30.0]
