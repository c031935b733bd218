"""Weights of several validations of one run averaged, as long as validation agrees. Knows tensors and scores.

Which files hold the weights, and what a score is, the loop says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from feinschliff.results.formats import goodness
from feinschliff.results.training import CurvePoint

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Soup:
    """What was averaged and how it scores."""

    steps: tuple[int, ...]
    """Of the validations whose weights are in it, the best first; a single one: averaging did not help."""
    loss: float
    metric: float
    weights: Weights


def ingredients(curve: Sequence[CurvePoint], most: int, metric: str) -> list[CurvePoint]:
    """The points of up to ``most`` best validations by that metric, best first; of equal ones the earlier."""
    scored = [point for point in curve if point.validation_metric is not None]
    return sorted(scored, key=lambda point: (-goodness(metric, point.validation_metric or 0.0), point.step))[:most]


@torch.no_grad()
def greedy_soup(
    points: Sequence[CurvePoint],
    file_of: Callable[[int], Path],
    score: Callable[[Weights], tuple[float, float]],
    name: str,
) -> Soup:
    """Greedy soup (Wortsman et al. 2022, recipe 1): each ingredient joins the mean if validation then is no worse.

    Args:
        points: validations, the best first.
        file_of: the weights after a step.
        score: (loss, metric) of weights.
        name: of the metric, which says whether more of it is better.
    """
    first = points[0]
    steps, weights = [first.step], load_file(file_of(first.step))
    loss, metric = first.validation_loss or 0.0, first.validation_metric or 0.0
    for point in points[1:]:
        more = load_file(file_of(point.step))
        share = 1.0 / (len(steps) + 1)
        tried = {name: torch.lerp(value, more[name], share) for name, value in weights.items()}
        tried_loss, tried_metric = score(tried)
        if goodness(name, tried_metric) >= goodness(name, metric):
            steps, weights, loss, metric = [*steps, point.step], tried, tried_loss, tried_metric
    return Soup(tuple(steps), loss, metric, weights)
