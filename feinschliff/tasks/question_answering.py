"""Extractive question answering: what may be asked of it. The work, in ``_question_answering``, is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig

if TYPE_CHECKING:
    from feinschliff.tasks._question_answering import QuestionAnswering
    from feinschliff.tasks._task import TaskContext


class QuestionAnsweringConfig(TypedConfig):
    """The piece of a text that answers a question, or that there is none."""

    type: Literal["question_answering"] = "question_answering"
    """`question_answering`."""
    window_overlap_fraction: float = Field(default=0.3, ge=0.0, lt=0.9)
    """Texts longer than the limit are read in windows that share this part of their tokens."""
    max_answer_tokens: int = Field(default=30, ge=1, le=512)
    """Longer pieces of the text are no answers."""


def create(config: QuestionAnsweringConfig, context: TaskContext) -> QuestionAnswering:
    """The task itself."""
    from feinschliff.tasks._question_answering import QuestionAnswering

    return QuestionAnswering(config, context)


CONFIG = QuestionAnsweringConfig
ROWS = "answers"
BY_DEFAULT = True
EXAMPLE = {"type": "question_answering", "max_answer_tokens": 8}
