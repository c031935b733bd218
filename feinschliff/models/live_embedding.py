"""An embedding table of which only the rows that occur in the training data are trained. Knows no tokenizer.

A row that no training text contains gets no gradient, and without weight decay AdamW leaves it as it is to the bit. So
training the occurring rows alone gives the same weights as training the table, with moments and gradients for a tenth
of it: on small vocabularies the table is otherwise the most expensive parameter of an encoder.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LiveEmbedding(nn.Module):
    """Same outputs as the ``nn.Embedding`` it replaces. ``weight`` holds the live rows [num_live, d].

    The other rows are a frozen parameter, so that they are cast along with the network's.
    """

    index_V: Tensor

    def __init__(self, table: nn.Embedding, live_ids: npt.NDArray[np.int64]) -> None:
        super().__init__()
        live = torch.from_numpy(live_ids)
        index = torch.full((table.num_embeddings,), -1, dtype=torch.int64)
        index[live] = torch.arange(len(live))
        self.weight = nn.Parameter(table.weight.detach()[live].clone())
        self.register_buffer("index_V", index, persistent=False)
        self.table_Vd = nn.Parameter(table.weight.detach(), requires_grad=False)
        self.live_ids = live

    def forward(self, ids: Tensor) -> Tensor:
        """[...] token ids to [..., d]. Ids that are not live come from the frozen table."""
        places = self.index_V[ids]
        live = places >= 0
        if bool(live.all()):
            return F.embedding(places, self.weight)
        out = F.embedding(ids, self.table_Vd).to(self.weight.dtype)
        out[live] = F.embedding(places[live], self.weight)
        return out


def live_ids(ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The distinct token ids that occur, sorted; virtual tokens, below zero, have no row in the table."""
    found: npt.NDArray[np.int64] = np.unique(ids[ids >= 0]).astype(np.int64)
    return found
