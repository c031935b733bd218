"""Rows of numbers to labels: what may be asked of it. The work, in ``_tabular_classification``, is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig

if TYPE_CHECKING:
    from feinschliff.tasks._tabular_classification import TabularClassification
    from feinschliff.tasks._task import TaskContext


class TabularClassificationConfig(TypedConfig):
    """A label, or several, for a row of numbers, by a Keras file that reads such rows."""

    type: Literal["tabular_classification"] = "tabular_classification"
    """`tabular_classification`."""
    threshold: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Several labels: a label is given where its probability is at least this."""


def create(config: TabularClassificationConfig, context: TaskContext) -> TabularClassification:
    """The task itself."""
    from feinschliff.tasks._tabular_classification import TabularClassification

    return TabularClassification(config, context)


CONFIG = TabularClassificationConfig
ROWS = "numbers"
BY_DEFAULT = True
READS_NUMBERS = True
CLASSIFIES_ROWS = True
COMPARES_PASSES = True
MIXES_FEATURES = True
EXAMPLE = {"type": "tabular_classification"}
