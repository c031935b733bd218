"""Text classification: what may be asked of it. The work, in ``_text_classification``, is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig

if TYPE_CHECKING:
    from feinschliff.tasks._task import TaskContext
    from feinschliff.tasks._text_classification import TextClassification


class TextClassificationConfig(TypedConfig):
    """A label, or several, for a text or a pair of texts."""

    type: Literal["text_classification"] = "text_classification"
    """`text_classification`."""
    threshold: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Several labels: a label is given where its probability is at least this."""


def create(config: TextClassificationConfig, context: TaskContext) -> TextClassification:
    """The task itself."""
    from feinschliff.tasks._text_classification import TextClassification

    return TextClassification(config, context)


CONFIG = TextClassificationConfig
ROWS = "labels"
BY_DEFAULT = True
COMPUTES_ON_GPUS = True
CLASSIFIES_ROWS = True
COMPARES_PASSES = True
MIXES_FEATURES = True
LEARNS_FROM_FEW_ROWS = True
EXAMPLE = {"type": "text_classification"}
