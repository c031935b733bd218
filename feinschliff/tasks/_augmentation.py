"""Random changes of training images, by kornia, an extra that is imported here only. Knows no model and no seed.

kornia draws from torch's generator, which the loop seeds at every step: a resumed run sees the same images.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from torch import Tensor, nn

from feinschliff.errors import ConfigError

PADDED_FRACTION = 0.125
"""Of the side, on each side, before a crop of the old size is taken (He et al. 2016: 4 of 32 pixels)."""


def augmentation(kind: str, height: int, width: int) -> Callable[[Tensor], Tensor] | None:
    """[B, 3, h, w] from 0 to 1 to the same; None for ``none``.

    light: shifted and mirrored. strong: also two of the changes of RandAugment (Cubuk et al. 2020).

    Raises:
        ConfigError: kornia is not installed.
    """
    if kind == "none":
        return None
    try:
        library = importlib.import_module("kornia.augmentation")
        policies = importlib.import_module("kornia.augmentation.auto")
    except ImportError as error:
        raise ConfigError(
            f"task.augmentation = {kind} needs kornia",
            where="task.augmentation",
            why=str(error),
            remedy="pip install 'feinschliff[images]', or leave it at none",
        ) from error
    padding = (round(PADDED_FRACTION * height), round(PADDED_FRACTION * width))
    steps = [
        library.RandomCrop((height, width), padding=padding, padding_mode="reflect"),
        library.RandomHorizontalFlip(),
    ]
    if kind == "strong":
        steps.append(policies.RandAugment(n=2, m=10))
    return nn.Sequential(*steps)
