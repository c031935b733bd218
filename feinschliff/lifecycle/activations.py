"""How much memory a decoder's activations may take, and from how many tokens on they are computed again instead.

Knows no loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from feinschliff import settings
from feinschliff.config.training import TrainingConfig
from feinschliff.engine.devices import device_of, free_bytes

SHARE = 0.4
"""Of the memory that is free when a run begins; several processes on one machine share it."""
KEPT_PER_OUTPUT = 2.7
"""Numbers kept for each number that linear layers give, at the peak of a step: SmolLM2, whose linear layers give 5,184
numbers a token and layer, takes 26 to 28 KiB in bf16 (``benchmarks/long_rows.py``)."""


def bytes_per_token(network: Any) -> float:
    """What the backward pass waits with, by the linear layers of the model itself: of adapters next to nothing is."""
    import torch

    parts = network.body.layers[0].named_modules()
    outputs = sum(
        part.out_features for name, part in parts if isinstance(part, torch.nn.Linear) and "lora_" not in name
    )
    size = next(network.body.parameters()).element_size()
    return float(KEPT_PER_OUTPUT * outputs * size * network.body.num_layers)


def bound(network: Any, longest: int, training: TrainingConfig, say: Callable[[str], None]) -> None:
    """Let layers of batches that would not fit be computed twice (Chen et al. 2016); nothing changes for others.

    Args:
        longest: tokens of the longest row.
    """
    asked = training.gradient_checkpointing
    if asked != "auto":
        network.body.checkpoint_above = 0 if asked == "on" else None
        say(f"gradient checkpointing {asked}: as asked")
        return
    per_token, device = bytes_per_token(network), device_of(network)
    processes = settings.read().num_local_ranks if device.type == "cpu" else 1
    network.body.checkpoint_above = int(SHARE * free_bytes(device) / processes / max(1.0, per_token))
    largest = max(longest, training.micro_batch_tokens)
    if largest > network.body.checkpoint_above:
        say(
            f"batches of more than {network.body.checkpoint_above:,} tokens compute their layers twice (gradient "
            f"checkpointing): {largest:,} tokens would keep {largest * per_token / 2**30:.1f} GiB"
        )
