"""Token embeddings moved against the model, to learn a batch a second time. Knows one parameter by name, no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from feinschliff.engine.precision import MasterWeights


@contextmanager
def moved_along_gradient(masters: MasterWeights, name: str, epsilon: float) -> Iterator[None]:
    """Move the parameter ``name`` by ``epsilon`` (L2 norm) along its gradient, and back to the same bits.

    The fast gradient method on embeddings (Miyato et al. 2017), here on the rows of the table that occur in the batch:
    the direction in which its loss grows fastest.
    """
    place = masters.names.index(name)
    working, gradient = masters.working[place], masters.masters[place].grad
    if gradient is None:
        raise RuntimeError(f"{name} has no gradient to move along")
    before = working.data.clone()
    with torch.no_grad():
        working.data.add_((epsilon / gradient.norm().clamp_min(1e-12) * gradient).to(working.dtype))
    try:
        yield
    finally:
        working.data.copy_(before)
