"""A running average of the trained weights, which is scored and kept in their place. Knows tensors, no architecture."""

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

    So it forgets the beginning at any length of run, and reaches back over about ``width`` of the steps so far.
    """

    def __init__(self, masters: MasterWeights, width: float) -> None:
        self._masters = masters
        self._exponent = 1.0 / width
        self._average: list[Tensor] | None = None

    @torch.no_grad()
    def update(self, step: int, updated: int) -> None:
        """Take in the weights after ``step`` steps; the last update was after ``updated`` steps."""
        now = [master.detach() for master in self._masters.masters]
        if self._average is None or updated == 0:
            self._average = [master.clone() for master in now]
        elif step > updated:
            torch._foreach_lerp_(self._average, now, 1.0 - (updated / step) ** self._exponent)

    def named(self) -> dict[str, Tensor]:
        """By parameter name (no copies); empty before the first update."""
        return dict(zip(self._masters.names, self._average or (), strict=self._average is not None))

    def load(self, values: dict[str, Tensor]) -> None:
        """Restore what :meth:`named` gave."""
        self._average = [values[name].clone() for name in self._masters.names] if values else None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network computes with the average; afterwards with the weights it is trained on."""
        current = {name: value.clone() for name, value in self._masters.named().items()}
        self._masters.load(self.named())
        try:
            yield
        finally:
            self._masters.load(current)
