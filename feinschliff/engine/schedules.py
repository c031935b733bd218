"""Learning-rate factors over a run. Knows numbers only."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["linear", "cosine", "constant"]


def factor(step: int, total_steps: int, warmup_ratio: float, schedule: Schedule) -> float:
    """Factor on the peak rate for the step with this 0-based number.

    Rises linearly over ``ceil(total_steps * warmup_ratio)`` steps, then falls to zero linearly or as half a cosine
    (Loshchilov and Hutter 2017), or stays.
    """
    warmup_steps = math.ceil(total_steps * warmup_ratio)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if schedule == "constant":
        return 1.0
    share = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 1.0 - share if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * share))
