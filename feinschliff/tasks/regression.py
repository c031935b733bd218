"""Regression: what may be asked of it. The work, in ``_regression``, is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from feinschliff.config.bases import TypedConfig

if TYPE_CHECKING:
    from feinschliff.tasks._regression import Regression
    from feinschliff.tasks._task import TaskContext


class RegressionConfig(TypedConfig):
    """A number, or several, for a text or a pair of texts."""

    type: Literal["regression"] = "regression"
    """`regression`."""


def create(config: RegressionConfig, context: TaskContext) -> Regression:
    """The task itself."""
    from feinschliff.tasks._regression import Regression

    return Regression(config, context)


CONFIG = RegressionConfig
ROWS = "values"
BY_DEFAULT = True
COMPUTES_ON_GPUS = True
EXAMPLE = {"type": "regression"}
