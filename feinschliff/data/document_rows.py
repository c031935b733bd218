"""Documents, whose every token is learned: whether a table holds such, and its rows to examples. Knows no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import cell_text, check_named, find_columns, is_missing
from feinschliff.data.document_files import holds_documents
from feinschliff.data.examples import Example
from feinschliff.data.rows_to_examples import RowReader, dropped_row, group_and_time
from feinschliff.data.tables import Row, Table
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound

NAMES = ("text", "content", "document")
ALSO_NAMES = ("body", "article", "page", "markdown")
"""Names that other tables have too."""
LONG_CHARACTERS = 200
"""Mean length from which an only column of texts, without a label, is one of documents."""


def find_documents(tables: Sequence[Table], sample: Sequence[Row], config: DataConfig) -> ColumnsFound | None:
    """The column of documents; None where the table does not say that it has such.

    It does where files or folders are documents themselves, or where the only column is called text, content or
    document and its texts are long.
    """
    columns = tables[0].columns
    if config.target is not None or len(columns) != 1 or columns[0].strip().casefold() not in NAMES:
        return None
    whole = all(holds_documents(table.name) for table in tables)
    texts = [cell_text(row.cells.get(columns[0])) for row in sample]
    long = not is_text_a_line(tables[0].name) and sum(map(len, texts)) >= LONG_CHARACTERS * len(texts)
    return _found(columns[0], columns, config) if whole or long else None


def named_documents(columns: Sequence[str], sample: Sequence[Row], config: DataConfig) -> ColumnsFound:
    """The column of documents where such were asked for: the one that is named or called so, the only one, or the only
    one of texts.

    Raises:
        DataError: a column that was named does not exist, several were named, or none can be taken.
    """
    check_named(columns, config)
    if len(config.text) > 1:
        raise DataError(f"{len(config.text)} text columns", where="--text", why="a document is one text",
                        remedy="name one")  # fmt: skip
    plain = {name.strip().casefold(): name for name in reversed(columns)}
    called = [plain[name] for name in (*NAMES, *ALSO_NAMES) if name in plain]
    chosen = [*config.text, *called, *(columns if len(columns) == 1 else ())]
    chosen = chosen or find_columns(columns, sample, DataConfig(), needs_target=False).text
    return _found(chosen[0], columns, config)


_LINES = (".txt", ".txt.gz", ".txt.zst")
"""Files of one text a line, unless documents are asked for."""


def is_text_a_line(name: str) -> bool:
    """Whether a source of this name is read as one text a line, unless documents are asked for."""
    return name.casefold().endswith(_LINES)


def _found(name: str, columns: Sequence[str], config: DataConfig) -> ColumnsFound:
    ignored = [other for other in columns if other not in {name, config.group, config.time}]
    said = [f"documents in column {name!r}: every token is learned, there is no answer"]
    said += [f"columns not used: {', '.join(map(repr, ignored))}"] if ignored else []
    return ColumnsFound(
        text=[name], target=None, group=config.group, time=config.time, kind="documents", announcements=said
    )


@dataclass(slots=True)
class DocumentReader(RowReader):
    """Rows to examples of one text, as it is."""

    def example(self, row: Row) -> Example | None:
        """See ``RowReader``."""
        number, name = self.num_rows, self.columns.text[0]
        self.num_rows += 1
        cell = row.cells.get(name)
        text = "" if is_missing(cell) else cell if isinstance(cell, str) else cell_text(cell)
        example = Example((text,), (), row.place, *group_and_time(row, self.columns), number)
        if text:
            return example
        self.dropped.append(dropped_row(example, f"no text in column {name!r}"))
        return None
