"""What is refused before step 1, and that looking changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from feinschliff.engine import preflight
from feinschliff.errors import PreflightError
from feinschliff.lifecycle.prepare import Prepared
from tests.numerics.tiny_runs import hash_of, largest_difference, made_fit, made_run, weights_of


def check(prepared: Prepared) -> preflight.Preflight:
    return preflight.check(prepared.learner, 0, prepared.task.expected_first_loss())


def test_it_measures_and_changes_nothing(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path)
    fit = made_fit(prepared, tmp_path)
    before = weights_of(fit)
    found = check(prepared)
    assert largest_difference(before, weights_of(fit)) == 0.0
    assert all(master.grad is None for master in prepared.learner.masters.masters)
    assert prepared.learner.optimizer.state() == {}
    assert found.expected_loss == pytest.approx(1.0986, abs=1e-4)
    assert 0.5 < found.first_loss < 1.5
    lengths = sorted(prepared.learner.table.lengths.tolist())
    assert found.largest_batch_tokens == sum(lengths[-8:])
    assert found.seconds_per_token > 0
    assert hash_of(fit)


def test_missing_labels(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path)
    prepared.learner.targets = None
    with pytest.raises(PreflightError, match="48 training rows but 0 usable targets") as caught:
        check(prepared)
    assert caught.value.exit_code == 2


def test_one_label_that_is_not_a_number(tiny_bert: Path, tmp_path: Path) -> None:
    from tests.numerics.tiny_runs import made_splits

    prepared = made_run(tiny_bert, tmp_path, made_splits(kind="multi"))
    assert prepared.learner.targets is not None
    prepared.learner.targets[5, 1] = float("nan")
    with pytest.raises(PreflightError, match="48 training rows but 47 usable targets"):
        check(prepared)


@pytest.mark.parametrize("bias", [1e3, float("nan")])
def test_absurd_first_loss(tiny_bert: Path, tmp_path: Path, bias: float) -> None:
    prepared = made_run(tiny_bert, tmp_path)
    with torch.no_grad():
        prepared.network.head.linear.bias[0] = bias
    with pytest.raises(PreflightError, match="the first loss is") as caught:
        check(prepared)
    assert "models verify" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")],
    ids=["python", "torch"],
)
def test_no_memory_for_the_batch(tiny_bert: Path, tmp_path: Path, error: Exception) -> None:
    prepared = made_run(tiny_bert, tmp_path)

    def loss(*_: Any) -> None:
        raise error

    prepared.task.loss = loss
    with pytest.raises(PreflightError, match="does not fit into memory") as caught:
        check(prepared)
    assert "--training.micro-batch-tokens" in str(caught.value)
    assert all(master.grad is None for master in prepared.learner.masters.masters)


def test_no_memory_for_the_moments(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = made_run(tiny_bert, tmp_path)

    def step(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(PreflightError, match="does not fit into memory"):
        check(prepared)


def test_a_fault_of_another_kind_is_not_called_memory(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path)

    def loss(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    prepared.task.loss = loss
    with pytest.raises(RuntimeError, match="shapes do not match"):
        check(prepared)
