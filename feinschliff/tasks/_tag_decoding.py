"""The likeliest sequence of tags that the scheme allows. Knows no model.

Viterbi (1967) without learned transitions: ``I-X`` may only follow ``B-X`` or ``I-X``, everything else follows
anything. Shapes: B rows, L words of the longest, C tags.
"""

from __future__ import annotations

import torch
from torch import Tensor


class TagDecoder:
    """For tags of the IOB2 scheme."""

    def __init__(self, names: tuple[str, ...]) -> None:
        number = {name: place for place, name in enumerate(names)}
        inner = [place for place, name in enumerate(names) if name.startswith("I-")]
        self._inner = torch.tensor(inner, dtype=torch.int64)
        self._begin = torch.tensor([number["B-" + names[place][2:]] for place in inner], dtype=torch.int64)

    def decode(self, scores_BLC: Tensor, lengths_B: Tensor) -> Tensor:
        """[B, L] tags; what stands after a row's words is of no meaning. ``scores_BLC`` are log probabilities."""
        rows, longest, _ = scores_BLC.shape
        best = scores_BLC[:, 0].clone()
        best[:, self._inner] = float("-inf")
        came_from: list[Tensor] = []
        for place in range(1, longest):
            top, at = best.max(1)
            before = at[:, None].expand_as(best).clone()
            reached = top[:, None].expand_as(best).clone()
            begun, inside = best[:, self._begin], best[:, self._inner]
            goes_on = inside >= begun
            reached[:, self._inner] = torch.where(goes_on, inside, begun)
            before[:, self._inner] = torch.where(goes_on, self._inner, self._begin)
            alive = (place < lengths_B)[:, None]
            best = torch.where(alive, reached + scores_BLC[:, place], best)
            came_from.append(torch.where(alive, before, torch.arange(best.shape[1])))
        tags = torch.empty(rows, longest, dtype=torch.int64)
        now = best.argmax(1)
        for place in range(longest - 1, -1, -1):
            tags[:, place] = now
            if place:
                now = came_from[place - 1].gather(1, now[:, None]).squeeze(1)
        return tags
