"""An embedding table with trained vectors beside it, for ids below zero. Knows no tokenizer and no method."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PromptedEmbedding(nn.Module):
    """Same outputs as the ``nn.Embedding`` it replaces; id -1 is the first row of ``prompt`` [P, d], -2 the second.

    The table keeps its name: ``weight``.
    """

    def __init__(self, table: nn.Embedding, prompt_Pd: Tensor) -> None:
        super().__init__()
        self.num_embeddings = table.num_embeddings
        self.weight = table.weight
        self.prompt = nn.Parameter(prompt_Pd.detach().clone())

    def forward(self, ids: Tensor) -> Tensor:
        """[...] ids to [..., d]."""
        virtual = ids < 0
        words = F.embedding(ids.clamp_min(0), self.weight)
        prompts = F.embedding((-1 - ids).clamp_min(0), self.prompt)
        return torch.where(virtual[..., None], prompts, words)
