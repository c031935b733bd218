"""The slow way that is always open: each row through the model's plain forward, alone, with the model's own cache.

For models whose attention cannot be plugged in (recurrent and hybrid ones, old code). Knows nothing of their kind.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from feinschliff.generation.forward import Step
from feinschliff.generation.kv_cache import Place
from feinschliff.generation.ragged_attention import Section


class OneByOne:
    """See ``forward.Forward``. Rows of places cannot be copied to each other."""

    def __init__(self, model: Any, *, keeps_cache: bool) -> None:
        self.model, self.keeps_cache = model, keeps_cache
        self._caches: WeakKeyDictionary[Place, Any] = WeakKeyDictionary()
        self._read: WeakKeyDictionary[Place, list[int]] = WeakKeyDictionary()

    def __call__(self, step: Step) -> Tensor:
        """Logits [m, V]."""
        ids, last = step.ids_T.tolist(), {}
        for part in step.parts:
            if isinstance(part, Section):
                for offset in range(part.end - part.begin):
                    last[part.begin + offset] = self._advance(part.slab.places[offset], ids[part.begin + offset :][:1])
            else:
                last[part.end - 1] = self._advance(part.place, ids[part.begin : part.end])
        return torch.stack([last[token] for token in step.last_m.tolist() if token in last] or list(last.values())[:1])

    def _advance(self, place: Place, ids: list[int]) -> Tensor:
        """Logits [V] after the next tokens of a row."""
        device = next(self.model.parameters()).device
        if self.keeps_cache:
            given = torch.tensor([ids], device=device)
            out = self.model(input_ids=given, past_key_values=self._caches.get(place), use_cache=True)
            self._caches[place] = out["past_key_values"]
        else:
            self._read.setdefault(place, []).extend(ids)
            out = self.model(input_ids=torch.tensor([self._read[place]], device=device), use_cache=False)
        logits: Tensor = out.logits[0, -1]
        return logits
