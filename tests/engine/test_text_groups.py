"""Rows of several texts: which text is where in a batch, and that the loss of a global batch is not bound by memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from feinschliff.engine.batching import TokenTable, micro_batches
from feinschliff.engine.step import Learner, backward
from feinschliff.engine.text_groups import TextGroups
from tests.numerics.tiny_runs import largest_difference, made_run, made_splits, train_to_end, weights_of

ROWS = np.arange(24)


def test_members_are_the_places_of_a_rows_texts() -> None:
    lengths = [4, 2, 3, 1, 5, 2, 6]
    ids = np.repeat(np.arange(7, dtype=np.int32) + 10, lengths)
    table = TextGroups(TokenTable(ids, np.cumsum([0, *lengths])), np.array([0, 2, 5, 7]))
    assert table.lengths.tolist() == [6, 9, 8]
    batch = table.collate(np.array([2, 1]), torch.tensor([[7.0], [8.0], [9.0]]))
    assert batch.members is not None
    assert batch.targets is not None
    numbers = [[int(batch.rows[place]) if place >= 0 else -1 for place in row] for row in batch.members.tolist()]
    assert numbers == [[5, 6, -1], [2, 3, 4]]
    assert batch.targets.tolist() == [[9.0], [8.0]]
    assert batch.num_targets == 2
    starts = torch.cumsum(batch.lengths_B, 0) - batch.lengths_B
    assert batch.ids_T[starts].tolist() == (batch.rows + 10).tolist()


def gradients(learner: Learner) -> dict[str, torch.Tensor]:
    return {
        n: m.grad for n, m in zip(learner.masters.names, learner.masters.masters, strict=True) if m.grad is not None
    }


@torch.no_grad()
def _spread(network: torch.nn.Module) -> None:
    """Weights of a usual size: with tiny ones all texts have nearly the same vector, and differences are rounding."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2 and "encoder" in name:
            parameter.mul_(6.0)


@pytest.mark.parametrize("kind", ["ranked", "similar"])
@pytest.mark.parametrize("method", ["full", "frozen_layers"])
def test_cached_gradients_are_those_of_one_big_batch(tiny_bert: Path, tmp_path: Path, kind: str, method: str) -> None:
    found, losses = [], []
    for limit in (24, 10**6):
        prepared = made_run(
            tiny_bert,
            tmp_path,
            made_splits(24, 12, kind),
            task={"type": "embeddings"},
            method={"type": method},
            micro_batch_tokens=limit,
        )
        learner = prepared.learner
        assert (len(list(micro_batches(ROWS, learner.table.lengths, limit))) > 8) is (limit == 24)
        _spread(prepared.network)
        prepared.network.train()
        loss = backward(learner, ROWS)
        assert loss.num_targets == 24
        losses.append(loss.loss_sum)
        found.append(gradients(learner))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    scale = max(float(value.abs().max()) for value in found[1].values())
    assert largest_difference(found[0], found[1]) < 1e-5 * scale


def test_a_run_in_micro_batches_ends_at_the_weights_of_one_in_whole_batches(tiny_bert: Path, tmp_path: Path) -> None:
    asked = {"task": {"type": "embeddings"}, "max_steps": 4, "adam_epsilon": 1e-4}
    splits = made_splits(kind="ranked")
    whole = train_to_end(tiny_bert, tmp_path / "a", splits, micro_batch_tokens=10**6, **asked)
    parts = train_to_end(tiny_bert, tmp_path / "b", splits, micro_batch_tokens=24, **asked)
    assert largest_difference(weights_of(whole), weights_of(parts)) < 5e-5  # a hundredth of what they moved


def test_both_passes_over_a_micro_batch_drop_the_same_out(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(
        tiny_bert,
        tmp_path,
        made_splits(24, 12, "ranked"),
        task={"type": "embeddings"},
        model={"dropout": 0.3},
        micro_batch_tokens=24,
    )
    task, seen = prepared.task, []
    embed = task.embed

    def noted(network: torch.nn.Module, batch: object) -> torch.Tensor:
        seen.append(embed(network, batch))
        return seen[-1]

    task.embed = noted
    prepared.network.train()
    torch.manual_seed(1)
    backward(prepared.learner, ROWS)
    half = len(seen) // 2
    assert half > 8
    assert all(torch.equal(one, other) for one, other in zip(seen[:half], seen[half:], strict=True))
    assert not torch.equal(seen[0], embed(prepared.network, prepared.learner.table.collate(ROWS[:1]))[: len(seen[0])])
