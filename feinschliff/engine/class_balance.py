"""Uneven classes evened out: by what a row counts, or by how often it is drawn. Knows class numbers, no labels.

Shapes: N rows, C classes. Targets are class numbers [N], or indicators [N, C] for several labels a row.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from feinschliff.engine.batching import Ints

Floats = npt.NDArray[np.float64]


def class_weights(targets: Tensor, num_classes: int, kind: Literal["balanced", "sqrt"]) -> Tensor:
    """What a class's rows count in the loss, [C] in fp32; or its yes against its no, where rows have several labels.

    One label: ``w_c ~ 1 / n_c`` (balanced: all classes count alike; King and Zeng 2001), or ``1 / sqrt(n_c)``, scaled
    to a mean of 1 over the rows. Several: ``(N - n_c) / n_c``, or its square root. A class without rows counts as one
    with a single row.
    """
    if targets.ndim == 1:
        counts = torch.bincount(targets, minlength=num_classes).double()
        weights = 1.0 / counts.clamp_min(1.0)
        weights = weights if kind == "balanced" else weights.sqrt()
        return (weights * len(targets) / (weights * counts).sum()).float()
    yes = targets.double().sum(0).clamp(1.0, max(1.0, len(targets) - 1.0))
    odds = (len(targets) - yes).clamp_min(1.0) / yes
    return (odds if kind == "balanced" else odds.sqrt()).float()


def row_chances(targets: Tensor) -> Floats:
    """How likely each row is to be drawn, [N], so that every class comes as often as the others.

    With several labels a row: the mean over its labels; rows without any are a class of their own.
    """
    goal = targets.numpy().astype(np.int64)
    if goal.ndim == 1:
        goal = goal[:, None] == np.unique(goal)[None]
    member = np.column_stack([goal > 0, ~(goal > 0).any(1)]).astype(np.float64)
    rare = member / np.maximum(1.0, member.sum(0))
    share = rare.sum(1) / member.sum(1)
    chances: Floats = share / share.sum()
    return chances


def balanced_order(chances: Floats, seed: int, epoch: int) -> Ints:
    """An epoch of as many rows as there are, drawn with replacement; a function of seed and epoch alone."""
    drawn: Ints = np.random.default_rng([seed, 0xBA1A, epoch]).choice(len(chances), size=len(chances), p=chances)
    return drawn
