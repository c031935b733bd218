"""Supervised fine-tuning of a decoder: what may be asked of it. The work, in ``_sft``, is imported late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig

if TYPE_CHECKING:
    from feinschliff.tasks._sft import Sft
    from feinschliff.tasks._task import TaskContext


class SftConfig(TypedConfig):
    """Answers learned from conversations, or documents learned word by word."""

    type: Literal["sft"] = "sft"
    """`sft`."""
    chat_template: str | None = None
    """How messages become one text: a Jinja file, or one of chatml, llama3, gemma, mistral, phi, zephyr, alpaca, plain.
    None: the tokenizer's own; where it has none, plain. It is saved with the model."""
    template_arguments: tuple[str, ...] = ()
    """Handed to the template by name, in training and whenever the model answers: `enable_thinking=false`,
    `date_string=2024-07-26`."""
    loss_on: tuple[str, ...] = ("assistant",)
    """What is learned: `assistant` (every answer), `completion` (answers that the completion's column gives; of lists
    of messages, those behind the user's last message), `last` (the last answer), `all` (every token), or roles
    (`assistant,tool`). Messages and their parts may have weights of their own in the data."""
    on_mismatch: Literal["refuse", "inference"] = "refuse"
    """Answers before which the template writes something else at inference: refuse the run, or learn them behind what
    is written at inference."""
    long_rows: Literal["auto", "drop", "cut", "window"] = "auto"
    """Rows longer than the limit: drop them, cut their end, or read them in windows of that length. auto: conversations
    are dropped, documents read in windows."""
    token_cache: bool = True
    """Keep the tokenized rows of large sets in the cache folder, for the next run on the same data with the same
    template, tokenizer and options."""
    max_new_tokens: int = Field(default=256, ge=1, le=32768)
    """Answers that are written end here at the latest."""


def create(config: SftConfig, context: TaskContext) -> Sft:
    """The task itself."""
    from feinschliff.tasks._sft import Sft

    return Sft(config, context)


CONFIG = SftConfig
ROWS = "conversations"
ALSO_READS = ("documents",)
BY_DEFAULT = True
COMPUTES_ON_GPUS = True
WRITES_TEXTS = True
CONTINUES_TEXTS = True
RATE_FACTOR = 0.2
"""Language models bear a fifth of the rates that suit small encoders: 2e-4 with LoRA."""
LEAST_EPOCHS = 0.05
"""A budget may end within the first pass: what was learned until then is kept."""
EXPECTED_LOSS_OF = "the base model by itself"
DEFAULT_MODEL = "smollm2-135m-instruct"
TRAINING = {
    "epochs": 3.0,
    "global_batch_rows": 16,
    "micro_batch_tokens": 2048,
    "label_smoothing": 0.0,
    "evaluations_per_epoch": 2,
}
"""Of the loop, where the person gives nothing else."""
EXAMPLE = {"type": "sft", "chat_template": "plain"}
