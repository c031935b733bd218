"""L2-SP: the step is that of plain PyTorch on the written-out penalty, or of AdamW on the weights less their start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from feinschliff.engine import loop
from feinschliff.engine.anchoring import Anchor
from feinschliff.engine.precision import MasterWeights
from feinschliff.engine.step import Learner, backward, train_step
from tests.numerics.tiny_runs import largest_difference, made_fit, made_run, weights_of

ALPHA, BETA = 0.3, 0.07
ROWS = np.arange(8)


def asked(**changes: Any) -> dict[str, Any]:
    return {"regularisation": {"l2_sp": ALPHA, "l2_sp_head": BETA, **changes}}


def away_from_start(learner: Learner) -> dict[str, Tensor]:
    """Move all masters a little, the same way each time; the start by name."""
    start = {name: value.clone() for name, value in learner.masters.named().items()}
    draw = torch.Generator().manual_seed(1)
    learner.masters.load(
        {name: value + 0.05 * torch.randn(value.shape, generator=draw) for name, value in start.items()}
    )
    return start


@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
def test_the_penalty_is_autograds(tiny_bert: Path, tmp_path: Path, max_grad_norm: float | None) -> None:
    """Mean loss plus alpha / 2 |w - w0|^2 plus beta / 2 |head|^2, written out, differentiated and clipped by torch."""
    plain = made_run(tiny_bert, tmp_path / "a").learner
    start = away_from_start(plain)
    loss = backward(plain, ROWS)
    written = {name: value.clone().requires_grad_() for name, value in plain.masters.named().items()}
    penalty = torch.zeros(())
    for name, value in written.items():
        if name.startswith("head."):
            penalty = penalty + BETA / 2 * (value**2).sum()
        else:
            penalty = penalty + ALPHA / 2 * ((value - start[name]) ** 2).sum()
    penalty.backward()
    for (name, value), master in zip(written.items(), plain.masters.masters, strict=True):
        assert value.grad is not None
        own = 0.0 if master.grad is None else master.grad / loss.num_targets
        value.grad += own
        assert name in start
    if max_grad_norm is not None:
        torch.nn.utils.clip_grad_norm_(written.values(), max_grad_norm)

    learner = made_run(tiny_bert, tmp_path / "b", max_grad_norm=max_grad_norm, **asked()).learner
    away_from_start(learner)
    found: dict[str, Tensor] = {}

    def look(factor: float) -> None:
        pairs = zip(learner.masters.names, learner.masters.masters, strict=True)
        found.update({name: master.grad.clone() for name, master in pairs if master.grad is not None})

    learner.optimizer.step = look  # type: ignore[method-assign]
    train_step(learner, ROWS, 1.0)
    assert found.keys() == written.keys()
    for name, value in written.items():
        torch.testing.assert_close(found[name], value.grad, rtol=1e-4, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def test_decoupled_it_is_adamw_on_the_weights_less_their_start() -> None:
    torch.manual_seed(0)
    network = nn.Linear(4, 3)
    start = {name: value.detach().clone() for name, value in network.named_parameters()}
    masters = MasterWeights(network, network, torch.float32)
    anchor = Anchor(masters, lambda name: name == "bias", ALPHA, BETA, decoupled=True)
    adam = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.0)
    moved = {"weight": torch.zeros(3, 4, requires_grad=True), "bias": start["bias"].clone().requires_grad_()}
    plain = torch.optim.AdamW(
        [{"params": [moved["weight"]], "weight_decay": ALPHA}, {"params": [moved["bias"]], "weight_decay": BETA}],
        lr=0.1,
    )
    rows = torch.randn(5, 4)
    for _ in range(7):
        adam.zero_grad()
        network(rows).square().sum().backward()
        anchor.decay({"weight": 0.1, "bias": 0.1})
        adam.step()
        plain.zero_grad()
        (rows @ (start["weight"] + moved["weight"]).T + moved["bias"]).square().sum().backward()
        plain.step()
    torch.testing.assert_close(network.weight, start["weight"] + moved["weight"])
    torch.testing.assert_close(network.bias, moved["bias"])


def test_a_pull_of_more_than_all_stops_at_the_start() -> None:
    network = nn.Linear(2, 2)
    masters = MasterWeights(network, network, torch.float32)
    start = {name: value.clone() for name, value in masters.named().items()}
    anchor = Anchor(masters, lambda name: False, 50.0, 0.0, decoupled=True)
    masters.load({name: value + 1.0 for name, value in start.items()})
    anchor.decay({"weight": 0.1, "bias": 0.1})
    assert largest_difference(masters.named(), start) < 1e-6


@pytest.mark.parametrize(("form", "strength"), [("penalty", 30.0), ("decoupled", 300.0)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_strong_pull_ends_nearer_to_the_start(
    tiny_bert: Path, tmp_path: Path, form: str, strength: float, precision: str
) -> None:
    """The start is copied from the fp32 masters, so in bf16 the pull is not lost in rounding."""
    gaps = []
    for pull in (0.0, strength):
        path = tmp_path / str(pull)
        options = {"l2_sp": pull, "l2_sp_form": form}
        fit = made_fit(made_run(tiny_bert, path, precision=precision, regularisation=options), path)
        before = weights_of(fit)
        list(loop.fit(fit))
        after = weights_of(fit)
        gaps.append(sum(float((after[n] - before[n]).square().sum()) for n in after if not n.startswith("head.")))
    assert gaps[1] < 0.7 * gaps[0]


def test_what_does_not_learn_is_not_pulled() -> None:
    """A layer that joins later has no gradient yet: AdamW must go on stepping over it."""
    network = nn.Linear(2, 2)
    masters = MasterWeights(network, network, torch.float32)
    anchor = Anchor(masters, lambda name: False, 1.0, 0.0, decoupled=False)
    masters.load({name: value + 1.0 for name, value in masters.named().items()})
    network.weight.grad = torch.zeros(2, 2)
    anchor.add_gradients(4)
    torch.testing.assert_close(network.weight.grad, torch.full((2, 2), 4.0))
    assert network.bias.grad is None


def test_rates_are_those_of_the_groups(tiny_bert: Path, tmp_path: Path) -> None:
    learner = made_run(tiny_bert, tmp_path, learning_rate=1e-3, head_learning_rate_multiplier=5.0).learner
    rates = learner.optimizer.rates(0.5)
    assert rates.keys() == set(learner.masters.names)
    assert rates["head.linear.weight"] == pytest.approx(2.5e-3)
    assert {rate for name, rate in rates.items() if not name.startswith("head.")} == {5e-4}
