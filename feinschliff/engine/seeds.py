"""Randomness that needs no saved state: each step draws from a generator seeded by run seed and step number."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit seed from a run's seed and a place in it, equal on every machine."""
    text = ":".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed dropout for one step of one process. A resumed run draws the same masks, so no generator state is saved."""
    torch.manual_seed(derive(seed, "step", step, *([rank] if rank else [])))
