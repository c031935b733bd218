"""How much memory a decoder's activations may take, and from how many tokens on they are computed again instead.

Knows no loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil

SHARE = 0.4
"""Of the memory that is free when a run begins."""
KEPT_PER_OUTPUT = 2.0
"""Numbers kept for each number that linear layers give: SmolLM2 keeps 21 kB a token and layer in bf16, whose linear
layers give 5,184 numbers."""


def bound(network: Any, longest: int, micro_batch_tokens: int, say: Callable[[str], None]) -> None:
    """Let layers of batches that would not fit be computed twice (Chen et al. 2016); nothing changes for others."""
    import torch

    layer = network.body.layers[0]
    outputs = sum(part.out_features for part in layer.modules() if isinstance(part, torch.nn.Linear))
    size = next(network.body.parameters()).element_size()
    per_token = KEPT_PER_OUTPUT * outputs * size * network.body.num_layers
    network.body.checkpoint_above = int(SHARE * psutil.virtual_memory().available / max(1.0, per_token))
    largest = max(longest, micro_batch_tokens)
    if largest > network.body.checkpoint_above:
        say(
            f"batches of more than {network.body.checkpoint_above:,} tokens compute their layers twice (gradient "
            f"checkpointing): {largest:,} tokens would keep {largest * per_token / 2**30:.1f} GiB"
        )
