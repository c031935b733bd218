"""Start and end pointers: the loss is that of transformers' BERT for questions, the best spans are the best."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForQuestionAnswering, BertModel

from feinschliff.config.model import ModelConfig
from feinschliff.engine.batching import collate
from feinschliff.tasks._answer_pointers import best_spans, fit_pointers, pointer_losses, real_tokens
from feinschliff.tasks._answer_windows import END, FIRST, INSIDE, START
from feinschliff.tasks._question_answering import QuestionAnswering
from feinschliff.tasks._task import TaskContext
from feinschliff.tasks.question_answering import QuestionAnsweringConfig
from tests.numerics.tiny_runs import examples


@pytest.mark.parametrize("num_virtual_tokens", [0, 3])
def test_loss_is_that_of_transformers_on_rows_without_padding(tiny_bert: Path, num_virtual_tokens: int) -> None:
    """Mean over rows of the mean of start and end, gradients of the head too; virtual tokens change nothing of it."""
    task = QuestionAnswering(QuestionAnsweringConfig(), TaskContext((), False, 2))
    network = task.load_model(ModelConfig(source=str(tiny_bert)), tiny_bert).eval()
    rows = task.encode(examples(10, 3, "answers"), 64)
    batch = rows.table.collate(np.arange(10), rows.targets)
    ours = task.loss(network, batch)
    ours.loss_sum.backward()
    theirs = BertForQuestionAnswering(BertConfig.from_pretrained(tiny_bert)).eval()
    theirs.bert.load_state_dict(BertModel.from_pretrained(tiny_bert, add_pooling_layer=False).state_dict())
    theirs.qa_outputs.load_state_dict(network.head.linear.state_dict())
    total = torch.zeros(())
    for row in range(10):
        begin, stop = rows.table.offsets[row], rows.table.offsets[row + 1]
        values = rows.targets.values[begin:stop]
        out = theirs(
            input_ids=torch.from_numpy(rows.table.ids[begin:stop].astype(np.int64))[None],
            token_type_ids=torch.from_numpy(rows.table.segments[begin:stop].astype(np.int64))[None],
            start_positions=torch.tensor([int(np.flatnonzero(values & START)[0])]),
            end_positions=torch.tensor([int(np.flatnonzero(values & END)[0])]),
        )
        total = total + out.loss
    total.backward()
    assert ours.num_targets == 10
    torch.testing.assert_close(ours.loss_sum, total, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.head.linear.weight.grad, theirs.qa_outputs.weight.grad, rtol=1e-3, atol=1e-4)
    if num_virtual_tokens:
        moved = rows.behind(num_virtual_tokens)
        there = moved.table.collate(np.arange(10), moved.targets)
        logits = torch.zeros(there.size, 2)
        logits[there.targets != -100] = network(batch).detach()[: batch.num_tokens]
        losses = pointer_losses(*real_tokens(logits, there.targets))
        torch.testing.assert_close(losses.sum(), ours.loss_sum.detach())


def _values(lengths: list[int], rng: torch.Generator) -> torch.Tensor:
    parts = []
    for length in lengths:
        values = torch.where(torch.rand(length, generator=rng) < 0.7, INSIDE, 0)
        values[0] = FIRST
        values[0] += START + END
        parts.append(values)
    return torch.cat(parts)


@pytest.mark.parametrize("most_tokens", [1, 3, 50])
def test_best_spans_are_those_of_trying_all(most_tokens: int) -> None:
    rng = torch.Generator().manual_seed(most_tokens)
    lengths = [2, 9, 1, 17, 5]
    values, logits = _values(lengths, rng), torch.randn(sum(lengths), 2, generator=rng)
    found = best_spans(logits, values, most_tokens, 4)
    begin = 0
    for row, length in enumerate(lengths):
        part, kinds = logits[begin : begin + length], values[begin : begin + length]
        inside = [i for i in range(length) if kinds[i] & INSIDE]
        tried = sorted(
            (float(part[inside[i], 0] + part[inside[j], 1]), inside[i], inside[j])
            for i, j in product(range(len(inside)), repeat=2)
            if i <= j < i + most_tokens
        )[::-1][:4]
        assert float(found[row, 0]) == pytest.approx(float(part[0].sum()))
        kept = [one for one in found[row, 1:].reshape(-1, 3).tolist() if one[0] > -torch.inf]
        # a window of few tokens keeps as many spans as it has tokens
        assert len(kept) == min(4, len(inside))
        for one, other in zip(kept, tried, strict=False):
            assert one == pytest.approx(other, abs=1e-5)
        begin += length


def test_smoothing_spreads_a_part_over_all_tokens() -> None:
    values = torch.tensor([FIRST, INSIDE + START, INSIDE + END])
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    wanted = torch.stack(
        [
            torch.nn.functional.cross_entropy(logits[:, 0][None], torch.tensor([1]), label_smoothing=0.2),
            torch.nn.functional.cross_entropy(logits[:, 1][None], torch.tensor([2]), label_smoothing=0.2),
        ]
    ).mean()
    torch.testing.assert_close(pointer_losses(logits, values, 0.2)[0], wanted)


def test_large_logits_do_not_overflow() -> None:
    values = torch.tensor([FIRST + START + END, INSIDE, FIRST, INSIDE + START + END])
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [3e4, 3e4], [3e4, 3e4]])
    losses = pointer_losses(logits, values)
    assert torch.isfinite(losses).all()
    assert float(losses[1]) == pytest.approx(np.log(2), abs=1e-3)


def test_fitted_pointers_find_a_direction_that_says_start_and_end() -> None:
    rng = torch.Generator().manual_seed(1)
    states, values = torch.randn(40 * 10, 16, generator=rng), torch.full((40, 10), INSIDE)
    values[:, 0] = FIRST
    for row in range(40):
        start = 1 + row % 8
        values[row, start] += START
        values[row, start + 1] += END
        states[row * 10 + start] += 6 * torch.eye(16)[0]
        states[row * 10 + start + 1] += 6 * torch.eye(16)[1]
    weight = fit_pointers(states, values.flatten())
    losses = pointer_losses(states @ weight.T, values.flatten())
    assert float(losses.mean()) < 0.3 < np.log(10)
    assert not weight.requires_grad


def test_filling_has_no_part(tiny_bert: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    task = QuestionAnswering(QuestionAnsweringConfig(), TaskContext((), False, 2))
    task.load_model(ModelConfig(source=str(tiny_bert)), tiny_bert)
    assert tokenizer.vocab_size == task.tokenizer.vocab_size
    rows = task.encode(examples(5, 1, "answers"), 64)
    batch = collate(rows.table, np.arange(5), rows.targets)
    assert batch.size > batch.num_tokens
    logits = torch.zeros(batch.size, 2)
    logits[batch.num_tokens :] = 1e6
    expected = torch.log(batch.lengths_B.float())
    torch.testing.assert_close(pointer_losses(*real_tokens(logits, batch.targets)), expected)
