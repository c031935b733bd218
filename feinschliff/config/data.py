"""Which files, which columns, how they are split. Knows no format and no tokenizer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.config.bases import Config


class DataConfig(Config):
    """The data of a run. Fields left at None are found in the files and announced."""

    train: tuple[str, ...] = ()
    """Files or sources: csv, tsv, json, jsonl, parquet, xlsx, a folder of texts or images per class, `hf:...`,
    `pypi:...`."""
    validation: tuple[str, ...] = ()
    """Own validation files; none: split off the training rows."""
    test: tuple[str, ...] = ()
    """Own held-out files; none: split off the training rows."""
    text: tuple[str, ...] = ()
    """Text columns, one or (for sentence pairs) two; of embeddings anchor, positive and any negatives; or the column
    of images; or the columns of numbers, in the order of the model's input; empty: found."""
    target: str | None = None
    """Label column, or the column of the number to be predicted (several: `price,weight`); None: found."""
    rows: Literal[
        "auto",
        "labels",
        "values",
        "spans",
        "answers",
        "pairs",
        "images",
        "texts",
        "numbers",
        "conversations",
        "documents",
    ] = "auto"
    """What a row's target is: labels, numbers, spans of the text, or answers to questions that stand in the text; or
    pairs: texts that belong together, or two with a number of how near they are; or images with labels; or texts, to
    be written from a source; or numbers with a label; or conversations (messages, or a prompt and its completion); or
    documents, whose every token is learned. auto: found, unless the task says it."""
    conversations: Literal["openai", "sharegpt", "alpaca", "prompt_completion"] | None = None
    """How conversations are written: lists of messages with role and content (openai) or from and value (sharegpt); or
    instruction, input and output (alpaca), or a prompt and its completion. None: found. Given, rows are conversations.
    """
    tag_names: tuple[str, ...] = ()
    """What tags that are numbers mean, in their order (`O,B-PER,I-PER`)."""
    group: str | None = None
    """Column whose equal values stay on one side of a split (customer, document, conversation)."""
    time: str | None = None
    """Column to split by time: the newest rows are the test set."""
    label_separator: str | None = None
    """Several labels in one cell are separated by this; None: found, where the data is multi-label."""
    encoding: str | None = None
    """Text encoding; None: found."""
    delimiter: str | None = None
    """Column delimiter of csv and tsv; None: found."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Whether the first line of csv and tsv names the columns."""
    validation_fraction: float = Field(default=0.1, ge=0.0, lt=0.9)
    """Share of all rows for validation, where no file is given. 0: none; nothing is chosen, the last weights are kept.
    """
    test_fraction: float = Field(default=0.2, gt=0.0, lt=0.9)
    """Share of all rows for the test set, where no file is given."""
    held_out_rows: int | None = Field(default=None, ge=2)
    """At most so many test rows are split off, and so many validation rows. None: 500 and 200 of conversations and
    documents, because judging a language model is slow and that many tell; else no limit."""
    near_duplicate_similarity: float = Field(default=0.8, gt=0.0, le=1.0)
    """Share of words, in order, in which two texts agree to count as near duplicates (case and punctuation aside)."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Exact duplicates within the training rows: keep one, or keep all."""
    held_out_duplicates: Literal["drop", "keep"] = "drop"
    """Training rows that (nearly) repeat a row of a given validation or test file, and rows of a validation file that
    repeat a test file: drop them, or keep them, which flatters the figures; only to compare with published ones."""
    redact: bool = False
    """Replace personal data (e-mail addresses, telephone and card numbers ...) in all rows by its kind: `[EMAIL]`."""
    max_rows: int | None = Field(default=None, ge=1)
    """Read at most this many rows a file (a trial run)."""
