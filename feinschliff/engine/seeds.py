"""Randomness that needs no saved state: each step draws from a generator seeded by run seed and step number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit seed from a run's seed and a place in it, equal on every machine."""
    text = ":".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed dropout for one step of one process, on the CPU and on GPUs.

    A resumed run draws the same masks, so no generator state is saved.
    """
    torch.manual_seed(derive(seed, "step", step, *([rank] if rank else [])))


def random_states() -> list[torch.Tensor]:
    """Of the generators that a forward pass draws from: the CPU's, and that of the GPU in use."""
    states = [torch.get_rng_state()]
    begun: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return [*states, torch.cuda.get_rng_state()] if begun else states


def restore_random_states(states: Sequence[torch.Tensor]) -> None:
    """Let the generators go on from what :func:`random_states` gave."""
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
