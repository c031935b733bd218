"""Sequence to sequence: what may be asked of it. The work, in ``_sequence_to_sequence``, is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig

if TYPE_CHECKING:
    from feinschliff.tasks._sequence_to_sequence import SequenceToSequence
    from feinschliff.tasks._task import TaskContext


class SequenceToSequenceConfig(TypedConfig):
    """A text written from another one: a translation, a summary, a correction."""

    type: Literal["sequence_to_sequence"] = "sequence_to_sequence"
    """`sequence_to_sequence`."""
    prefix: str = ""
    """Stands before every source (`summarize: `, `translate English to German: `): what the base model was told."""
    max_target_tokens: int = Field(default=128, ge=4, le=4096)
    """Longer targets are cut in training (and counted)."""
    max_new_tokens: int | None = Field(default=None, ge=4, le=4096)
    """What is written ends here at the latest. None: at `max_target_tokens`."""
    num_beams: int = Field(default=1, ge=1, le=64)
    """Beams when the finished model writes; 1: always the likeliest next token. Validation writes with one."""

    @property
    def longest_written(self) -> int:
        """In tokens."""
        return self.max_new_tokens or self.max_target_tokens


def create(config: SequenceToSequenceConfig, context: TaskContext) -> SequenceToSequence:
    """The task itself."""
    from feinschliff.tasks._sequence_to_sequence import SequenceToSequence

    return SequenceToSequence(config, context)


CONFIG = SequenceToSequenceConfig
ROWS = "texts"
BY_DEFAULT = True
WRITES_TEXTS = True
EXAMPLE = {"type": "sequence_to_sequence", "max_target_tokens": 16}
