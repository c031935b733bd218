"""Token classification: what may be asked of it. The work, in ``_token_classification``, is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig

if TYPE_CHECKING:
    from feinschliff.tasks._task import TaskContext
    from feinschliff.tasks._token_classification import TokenClassification


class TokenClassificationConfig(TypedConfig):
    """Labelled pieces of a text: names, places, terms."""

    type: Literal["token_classification"] = "token_classification"
    """`token_classification`."""
    window_overlap_fraction: float = Field(default=0.25, ge=0.0, lt=0.9)
    """Texts longer than the limit are read in windows that share this part of their tokens."""


def create(config: TokenClassificationConfig, context: TaskContext) -> TokenClassification:
    """The task itself."""
    from feinschliff.tasks._token_classification import TokenClassification

    return TokenClassification(config, context)


CONFIG = TokenClassificationConfig
ROWS = "spans"
BY_DEFAULT = True
EXAMPLE = {"type": "token_classification"}
