"""Training the rows that occur equals training the whole table."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from feinschliff.models.live_embedding import LiveEmbedding, live_ids


def make_table() -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(30, 6)


def test_same_bits_as_training_the_table_with_adamw_without_decay() -> None:
    whole, base = make_table(), make_table()
    ids = torch.tensor([[3, 7, 7, 11], [3, 29, 0, 7]])
    live = LiveEmbedding(base, live_ids(ids.numpy().astype(np.int32)))
    assert live.weight.shape == (5, 6)
    optimizers = [torch.optim.AdamW(m.parameters(), lr=0.1, weight_decay=0.0) for m in (whole, live)]
    start = whole.weight.detach().clone()
    for step in range(4):
        goal = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(step))
        part = slice(0, 2) if step % 2 == 0 else slice(0, 1)  # in odd steps 29 and 0 get no gradient but keep momentum
        for module, optimizer in zip((whole, live), optimizers, strict=True):
            optimizer.zero_grad()
            ((module(ids[part]) - goal[part]) ** 2).sum().backward()
            optimizer.step()
    assert torch.equal(live.weight, whole.weight[live.live_ids])
    absent = torch.tensor([i for i in range(30) if i not in live.live_ids.tolist()])
    assert torch.equal(whole.weight[absent], start[absent])
    assert not torch.equal(whole.weight[live.live_ids], start[live.live_ids])


def test_other_tokens_come_from_the_frozen_table() -> None:
    base = make_table()
    live = LiveEmbedding(base, np.array([3, 7]))
    with torch.no_grad():
        live.weight.fill_(1.0)
    out = live(torch.tensor([3, 4, 7, 29]))
    assert torch.equal(out[[0, 2]], torch.ones(2, 6))
    assert torch.equal(out[[1, 3]], base.weight[[4, 29]])
    assert [name for name, p in live.named_parameters() if p.requires_grad] == ["weight"]


def test_in_bf16_the_table_is_given_in_bf16() -> None:
    live = LiveEmbedding(make_table(), np.array([3]))
    live.weight.data = live.weight.data.bfloat16()
    out = live(torch.tensor([3, 4]))
    assert out.dtype == torch.bfloat16
    assert torch.equal(out[1], live.table_Vd[4].bfloat16())


def test_live_ids_are_distinct_and_sorted() -> None:
    assert live_ids(np.array([5, 1, 5, 9, 1], dtype=np.int32)).tolist() == [1, 5, 9]
