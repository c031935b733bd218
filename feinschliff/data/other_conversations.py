"""Conversations in other files than those of a run: their format is found anew where the run's own is not there.

A run learned from messages may be asked by prompts, or by another format of messages. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import SAMPLE_ROWS, is_missing
from feinschliff.data.conversation_columns import OPENAI, SHAREGPT, find_conversations, find_prompts_alone
from feinschliff.data.message_lists import written_as
from feinschliff.data.sources import read_tables
from feinschliff.data.tables import Row, Table
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound


def as_written_here(
    tables: Sequence[Table], columns: ColumnsFound, config: DataConfig, needs_labels: bool
) -> ColumnsFound:
    """``columns`` as they are, or as the first table has them; the announcements say what was found.

    Args:
        columns: of the run, or named by the person.
        needs_labels: whether answers are needed; without, prompts alone are enough.
    """
    if columns.kind != "conversations":
        return columns
    names, text = tables[0].columns, columns.text[0]
    sample = list(islice(read_tables(tables), SAMPLE_ROWS))
    if text in names and (columns.conversations not in (OPENAI, SHAREGPT) or not _are_texts(text, sample)):
        return columns
    named = (text,) if text in names else ()
    asked = config.model_copy(update={"rows": "conversations", "conversations": None, "text": named, "target": None})
    try:
        found = find_conversations(names, sample, asked)
    except DataError:
        found = None if needs_labels else find_prompts_alone(names, sample, text if named else None)
    return found or columns


def _are_texts(name: str, sample: Sequence[Row]) -> bool:
    cells = [cell for row in sample if not is_missing(cell := row.cells.get(name))]
    return bool(cells) and all(isinstance(cell, str) and written_as(cell) is None for cell in cells)
