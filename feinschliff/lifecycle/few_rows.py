"""``tune`` with so few rows that none can be spared for choosing: one recipe, all rows, the last weights.

Compared on a dozen validation rows, recipes would be ordered by chance, and the dozen is missed in training.
"""

from __future__ import annotations

from dataclasses import replace

from feinschliff import registry
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Splits
from feinschliff.lifecycle.recipes import STEP_COST, Recipe

FEW = 256
"""Training and validation rows together; with fewer, trials order recipes by chance."""
EPOCHS = 20.0
RATE = 5e-5
CHOICES = ("data.validation", "training.keep_weights", "training.regularisation", "model.head_init", "method")
"""Beginnings of fields that say how weights are to be chosen, begun, held back or trained."""


def are_few(config: RunConfig, splits: Splits, given: set[str]) -> bool:
    """Whether the recipe for few rows is the one to take: none that the person asked for."""
    if any(name.startswith(CHOICES) for name in given):
        return False
    offered = registry.says("task", config.task.type, "LEARNS_FROM_FEW_ROWS")
    return offered and len(splits.train) + len(splits.validation) < FEW


def joined(splits: Splits) -> Splits:
    """All rows but those of the test set are training rows."""
    rows = sorted([*splits.train, *splits.validation], key=lambda row: (row.place.file, row.place.line))
    return replace(splits, train=rows, validation=[])


def recipe() -> Recipe:
    """The one recipe (`benchmarks/few_shot.py`, chosen on SST-2's dev file with 8 to 64 rows a class)."""
    return Recipe(
        "few rows",
        "from the linear probe on: adversarial steps, rows of a class drawn together",
        {"type": "full"},
        {
            "epochs": EPOCHS,
            "learning_rate": RATE,
            "head_learning_rate_multiplier": 1.0,
            "keep_weights": "last",
            "adversarial_epsilon": 0.5,
            "regularisation": {"pair_contrast": 1.0},
        },
        2 * STEP_COST,
        model={"head_init": "linear_probe"},
    )
