"""The micro batch bounds memory and changes nothing else: eight times one row gives what one times eight rows gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.data.examples import Splits
from feinschliff.engine.batching import epoch_order, micro_batches
from feinschliff.engine.step import backward
from tests.numerics.tiny_runs import largest_difference, made_run, made_splits, train_to_end, weights_of

SMOOTH = {"max_steps": 5, "adam_epsilon": 1e-4}


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_eight_times_one_is_one_times_eight(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    splits = made_splits(kind=kind)
    single = train_to_end(tiny_bert, tmp_path / "a", splits, micro_batch_tokens=16, **SMOOTH)
    rows = epoch_order(len(splits.train), 0, 0)[:8]
    parts = list(micro_batches(rows, single.learner.table.lengths, 16))
    assert len(parts) > 4
    whole = train_to_end(tiny_bert, tmp_path / "b", splits, micro_batch_tokens=10**6, **SMOOTH)
    assert len(list(micro_batches(rows, whole.learner.table.lengths, 10**6))) == 1
    assert largest_difference(weights_of(single), weights_of(whole)) < 2e-6


def test_sums_are_divided_once_whatever_the_micro_batches_hold(tiny_bert: Path, tmp_path: Path) -> None:
    """Micro batches of 1 and 7 rows: a mean of means would weigh the single row seven times."""
    splits = made_splits(longest=3)
    long = made_splits(1, longest=60).train[0]
    splits = Splits([long, *splits.train[:7]], splits.validation, [], splits.columns, splits.label_names)
    losses, grads = [], []
    for limit in (70, 10**6):
        prepared = made_run(tiny_bert, tmp_path, splits, micro_batch_tokens=limit, adam_epsilon=1e-4)
        learner = prepared.learner
        rows = epoch_order(8, 0, 0)
        sizes = [len(part) for part in micro_batches(rows, learner.table.lengths, limit)]
        assert sizes == ([7, 1] if limit == 70 else [8])
        prepared.network.train()
        loss = backward(learner, rows)
        assert loss.num_targets == 8
        losses.append(loss.loss_sum)
        grads.append({n: m.grad for n, m in zip(learner.masters.names, learner.masters.masters, strict=True)})
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert largest_difference(grads[0], grads[1]) < 2e-5
    assert max(float(grad.abs().max()) for grad in grads[0].values()) > 0.1


def test_bf16_gradients_of_micro_batches_are_summed_in_fp32(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, precision="bf16", micro_batch_tokens=16)
    masters = prepared.learner.masters
    prepared.network.train()
    backward(prepared.learner, epoch_order(48, 0, 0)[:8])
    assert all(master.grad is not None and str(master.grad.dtype) == "torch.float32" for master in masters.masters)
    body = [w for n, w in zip(masters.names, masters.working, strict=True) if n.startswith("body.")]
    assert body
    assert all(str(weight.dtype) == "torch.bfloat16" and weight.grad is None for weight in body)
