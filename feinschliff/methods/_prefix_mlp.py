"""A prefix that is computed from something smaller while it is trained. Knows no model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ComputedPrefix(nn.Module):
    """Keys and values [2, H, P, D] of one layer as a two-layer network of P trained vectors (Li and Liang 2021).

    A network a layer, where theirs is one for all: so it belongs to its layer and learns at the layer's rate.
    """

    def __init__(self, num_tokens: int, heads: int, width: int, hidden: int) -> None:
        super().__init__()
        self.shape = (num_tokens, 2, heads, width)
        self.vectors = nn.Parameter(torch.randn(num_tokens, heads * width))
        self.network = nn.Sequential(nn.Linear(heads * width, hidden), nn.Tanh(), nn.Linear(hidden, 2 * heads * width))
        self.enabled = True

    def forward(self) -> Tensor:
        """[2, H, P, D]."""
        states: Tensor = self.network(self.vectors)
        return states.view(self.shape).permute(1, 2, 0, 3)
