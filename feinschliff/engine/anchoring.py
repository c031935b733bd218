"""Trained weights held near where they started, the new head near zero. Knows names and tensors, no architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from feinschliff.engine.precision import MasterWeights


class Anchor:
    """L2-SP (Li, Grandvalet and Davoine 2018): ``alpha / 2 * |w - w0|^2 + beta / 2 * |w_head|^2``.

    As a penalty its gradient, ``alpha * (w - w0)`` and ``beta * w_head``, is added to that of the mean loss, before
    clipping: what autograd makes of the written-out sum. Decoupled, ``w - w0`` shrinks by ``rate * alpha`` before
    each update, outside of AdamW's moments: AdamW's own decay (Loshchilov and Hutter 2019) on the weights less their
    start.

    The start is a copy of the masters (four bytes a pretrained weight), taken when this is made: before any step, and
    before a checkpoint is loaded. So it is not saved.
    """

    def __init__(
        self, masters: MasterWeights, is_new: Callable[[str], bool], alpha: float, beta: float, *, decoupled: bool
    ) -> None:
        self.decoupled = decoupled
        self._pulled: list[tuple[str, Tensor, Tensor | None, float]] = []
        """Name, master, start (None: zero) and strength."""
        for name, master in zip(masters.names, masters.masters, strict=True):
            new = is_new(name)
            if beta if new else alpha:
                start = None if new else master.detach().clone()
                self._pulled.append((name, master, start, beta if new else alpha))

    @torch.no_grad()
    def add_gradients(self, num_targets: float) -> None:
        """Add the penalty's gradient to gradients that are still sums over ``num_targets`` targets.

        What has none does not learn in this step, and is not pulled either.
        """
        for _, master, start, strength in self._pulled:
            gap = master.detach() if start is None else master.detach() - start
            if master.grad is not None:
                master.grad.add_(gap, alpha=strength * num_targets)

    @torch.no_grad()
    def decay(self, rates: Mapping[str, float]) -> None:
        """Shrink the distance to the start by ``rate * strength``, at most to nothing."""
        for name, master, start, strength in self._pulled:
            share = min(1.0, rates[name] * strength)
            if start is None:
                master.mul_(1.0 - share)
            else:
                master.lerp_(start, share)
