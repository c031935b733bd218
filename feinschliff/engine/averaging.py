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
"""An update reads and writes all masters; the formula takes any number of steps at once."""


class AveragedWeights:
    """Power-function average (Karras et al. 2024): weights of step t count in proportion to ``t ** (1 / width - 1)``.

    So it forgets the beginning at any length of run, and reaches back over about ``width`` of the steps so far; 0: the
    weights of the last update alone. What is kept is ``base_share`` of the weights before training and the rest of this
    average (WiSE-FT, Wortsman et al. 2022).
    """

    def __init__(self, masters: MasterWeights, width: float, base_share: float = 0.0) -> None:
        self._masters = masters
        self._width = width
        self._base_share = base_share
        self._base = [m.detach().clone() for m in masters.masters] if base_share else []
        self._average: list[Tensor] | None = None

    @torch.no_grad()
    def update(self, step: int, updated: int) -> None:
        """Take in the weights after ``step`` steps; the last update was after ``updated`` steps."""
        now = [master.detach() for master in self._masters.masters]
        if self._average is None or updated == 0 or not self._width:
            self._average = [master.clone() for master in now]
        elif step > updated:
            torch._foreach_lerp_(self._average, now, 1.0 - (updated / step) ** (1.0 / self._width))

    def state(self) -> dict[str, Tensor]:
        """The average by parameter name (no copies); empty before the first update."""
        return dict(zip(self._masters.names, self._average or (), strict=self._average is not None))

    def load(self, values: dict[str, Tensor]) -> None:
        """Restore what :meth:`state` gave."""
        self._average = [values[name].clone() for name in self._masters.names] if values else None

    def named(self) -> dict[str, Tensor]:
        """What is scored and kept, by parameter name."""
        if not self._base or self._average is None:
            return self.state()
        kept = torch._foreach_lerp(self._average, self._base, self._base_share)
        return dict(zip(self._masters.names, kept, strict=True))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network computes with what is kept; afterwards with the weights it is trained on."""
        with self._masters.lent(list(self.named().values())):
            yield
