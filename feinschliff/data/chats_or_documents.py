"""Which of the two a task finds that learns from conversations and from documents. Knows no task and no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Literal

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import SAMPLE_ROWS
from feinschliff.data.conversation_columns import find_conversations
from feinschliff.data.document_files import holds_documents
from feinschliff.data.document_rows import find_documents, is_text_a_line
from feinschliff.data.hints import lacks_conversations, without_conversations
from feinschliff.data.sources import open_tables, read_tables
from feinschliff.data.tables import Row, Table
from feinschliff.errors import DataError


def chats_or_documents(config: DataConfig) -> Literal["conversations", "documents"]:
    """What the training files of ``config`` hold, by their names and first rows.

    Conversations are looked for as where they are asked for; what holds none can be documents. Files of mere text
    (``.txt``) are: such a task has no other use for them.

    Raises:
        DataError: files that cannot be read, columns that do not exist; or there are no conversations, and documents
            for all that can be told neither.
    """
    tables = open_tables(config.train, config)
    sample = list(islice(read_tables(tables), SAMPLE_ROWS))
    if not sample:
        return "conversations"
    try:
        find_conversations(tables[0].columns, sample, config.model_copy(update={"rows": "conversations"}))
    except DataError as error:
        if not lacks_conversations(error):
            raise
        if _are_documents(tables, sample, config):
            return "documents"
        raise without_conversations(error) from error
    return "conversations"


def _are_documents(tables: Sequence[Table], sample: Sequence[Row], config: DataConfig) -> bool:
    if config.target is not None or config.conversations is not None or len(config.text) > 1:
        return False
    files = all(
        table.columns == ["text"] and (is_text_a_line(table.name) or holds_documents(table.name)) for table in tables
    )
    return files or find_documents(tables, sample, config) is not None
