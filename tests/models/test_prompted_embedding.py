"""A table with a prompt beside it: ids below zero are the prompt's, all others the table's, forward and backward."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from feinschliff.models.live_embedding import live_ids
from feinschliff.models.prompted_embedding import PromptedEmbedding


def test_rows_and_gradients_are_those_of_prompt_and_table() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(10, 4).requires_grad_(False)
    start = torch.randn(2, 4)
    both = PromptedEmbedding(table, start)
    ids = torch.tensor([[-1, -2, 3], [-1, 0, 9]])
    out = both(ids)
    expected = torch.stack([torch.stack([start[0], start[1], table.weight[3]]), table.weight[[0, 0, 9]]])
    expected[1, 0] = start[0]
    assert torch.equal(out, expected)
    (out * torch.arange(1.0, 7.0).view(2, 3, 1)).sum().backward()
    assert both.prompt.grad is not None
    assert torch.equal(both.prompt.grad, torch.tensor([[5.0], [2.0]]).expand(2, 4))
    assert both.weight is table.weight
    assert [name for name, _ in both.named_parameters()] == ["weight", "prompt"]


def test_places_of_a_prompt_are_no_live_rows() -> None:
    assert live_ids(np.array([-2, -1, 3, 0, 3], dtype=np.int32)).tolist() == [0, 3]
