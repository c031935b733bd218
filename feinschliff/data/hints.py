"""What a refusal can add: other ways to read the same rows. Knows no file format and no task."""

from __future__ import annotations

from collections.abc import Sequence

from feinschliff.config.data import DataConfig
from feinschliff.data.conversation_columns import how_to_ask
from feinschliff.data.document_rows import is_text_a_line
from feinschliff.data.tables import Row, Table
from feinschliff.errors import DataError, Fault


def without_labels(error: DataError, table: Table, sample: Sequence[Row], config: DataConfig) -> DataError:
    """The refusal of a table without a label column, with the ways to learn from it that need no label."""
    if config.rows != "auto":
        return error
    hints = []
    if is_text_a_line(table.name):
        hints.append("to learn the text itself, as one document: --data.rows documents")
    if (options := how_to_ask(table.columns, sample, config)) is not None:
        hints.append(f"to learn to write the answers: {options}")
    return _hinted(error, "no label", hints)


def without_conversations(error: DataError) -> DataError:
    """The refusal of a table without conversations, with the way to learn its texts as they are."""
    return _hinted(error, _NO_CONVERSATIONS, ["to learn texts word by word: --data.rows documents"])


def lacks_conversations(error: DataError) -> bool:
    """Whether this is why a table was refused."""
    return all(fault.what.startswith(_NO_CONVERSATIONS) for fault in error.faults)


_NO_CONVERSATIONS = "no conversations"


def _hinted(error: DataError, begins: str, hints: Sequence[str]) -> DataError:
    """The same faults; to the remedies of those that begin so the hints are added."""
    return DataError(
        Fault(one.what, one.where, one.why, "; ".join([*([one.remedy] if one.remedy else []), *hints]))
        if one.what.startswith(begins)
        else one
        for one in error.faults
    )
