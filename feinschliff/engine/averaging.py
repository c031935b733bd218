"""What is scored and kept in the place of the trained weights: their running average, drawn back toward the start.

Knows tensors, no architecture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from feinschliff.engine.precision import MasterWeights

STEPS_BETWEEN_UPDATES = 8
"""At most: an update reads and writes all masters, and the formula takes any number of steps at once."""
UPDATES_PER_WIDTH = 8
"""So often, or at every step, weights are taken in while the average reaches back: short runs are averaged too."""


class AveragedWeights:
    """Power-function average (Karras et al. 2024): weights of step t count in proportion to ``t ** (1 / width - 1)``.

    So it forgets the beginning at any length of run, and reaches back over about ``width`` of the steps so far; 0: no
    average, the weights themselves. What is kept is ``base_share`` of the weights before training and the rest of this
    average (WiSE-FT, Wortsman et al. 2022).
    """

    def __init__(self, masters: MasterWeights, width: float, base_share: float = 0.0) -> None:
        self._masters = masters
        self._width = width
        self._base_share = base_share
        self._base = [m.detach().clone() for m in masters.masters] if base_share else []
        self._average: list[Tensor] | None = None

    def due(self, step: int, updated: int) -> bool:
        """Whether the weights after ``step`` steps are to be taken in; the last update was after ``updated`` steps."""
        return step - updated >= max(1, min(STEPS_BETWEEN_UPDATES, int(self._width * step / UPDATES_PER_WIDTH)))

    @torch.no_grad()
    def update(self, step: int, updated: int) -> None:
        """Take in the weights after ``step`` steps; the last update was after ``updated`` steps."""
        if not self._width:
            return
        now = list(self._masters.named().values())
        if self._average is None or updated == 0:
            self._average = [master.clone() for master in now]
        elif step > updated:
            torch._foreach_lerp_(self._average, now, 1.0 - (updated / step) ** (1.0 / self._width))

    def state(self) -> dict[str, Tensor]:
        """The average by parameter name (no copies); empty before the first update, and without one."""
        return dict(zip(self._masters.names, self._average or (), strict=self._average is not None))

    def load(self, values: dict[str, Tensor]) -> None:
        """Restore what :meth:`state` gave."""
        own = self._masters.named()
        self._average = [values[name].to(own[name].device, copy=True) for name in own] if values else None

    def named(self) -> dict[str, Tensor]:
        """What is scored and kept, by parameter name."""
        average = self.state() or self._masters.named()
        if not self._base:
            return average
        kept = torch._foreach_lerp(list(average.values()), self._base, self._base_share)
        return dict(zip(self._masters.names, kept, strict=True))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network computes with what is kept; afterwards with the weights it is trained on."""
        with self._masters.lent(list(self.named().values())):
            yield
