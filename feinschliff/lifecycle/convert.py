"""The verb ``data convert``: conversations from one format into another. Knows no format's words.

Nothing is lost without being counted: rows that the format cannot say are listed, and so is what others lose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.data.conversation_files import COLUMNS, NESTED, Unwritable, Written, written
from feinschliff.data.conversation_rows import ConversationReader
from feinschliff.data.encodings import inner_suffix
from feinschliff.data.examples import Example
from feinschliff.data.load import open_with_columns
from feinschliff.data.redaction import redacted_examples
from feinschliff.data.rows_to_examples import count_reasons, dropped_row
from feinschliff.data.sources import read_tables
from feinschliff.data.tables import Table
from feinschliff.data.writers import RowWriter, write_dropped
from feinschliff.errors import ConfigError, DataError, Fault
from feinschliff.results.data import ConvertResult, DroppedRow

_LINES = ".jsonl"
_TABLES = (_LINES, ".csv", ".tsv", ".parquet")


@dataclass(slots=True)
class _Converter:
    """Turns examples into rows of a format; counts what it leaves out."""

    to: str
    dropped: list[DroppedRow]
    lost: list[DroppedRow] = field(default_factory=list)
    """One entry a row and thing that is lost; the reason names the thing."""

    def rows(self, examples: Iterator[Example]) -> Iterator[Written]:
        for example in examples:
            if example.conversation is None:
                continue
            try:
                row = written(example.conversation, self.to)
            except Unwritable as reason:
                self.dropped.append(dropped_row(example, str(reason)))
                continue
            self.lost += [dropped_row(example, what) for what in row.lost]
            yield row


def convert(config: DataConfig, to: str, output: Path | None = None, overwrite: bool = False) -> ConvertResult:
    """Write the conversations of the files in another format.

    Beside the output ``*.dropped.csv`` lists every row that is not in it, unusable or beyond the format's words, and
    ``*.lost.csv`` what rows were written without, where there is such. Columns that are no part of a conversation are
    left out, and that is said. Neither duplicates nor what follows the last answer are left out.

    Args:
        config: ``conversations`` names the format that is read; None: found.
        to: openai, sharegpt, alpaca or prompt_completion.
        output: where to write; None: ``NAME.FORMAT.jsonl`` beside the first file.

    Raises:
        ConfigError: there is no such format, or it cannot be written as the output's suffix says.
        DataError: files that cannot be read, no conversations in them, none that the format can say, or the output
            exists.
    """
    output = output or _default_output(config.train, to)
    _check(to, output)
    tables, columns = open_with_columns(config.train, config.model_copy(update={"rows": "conversations"}))
    _refuse_own_input(tables, output)
    reader = ConversationReader(columns, keeps_end=True)
    converter = _Converter(to, reader.dropped)
    base = output.name.removesuffix(".gz").removesuffix(".zst").rsplit(".", 1)[0]
    dropped_path, lost_path = (output.with_name(f"{base}.{what}.csv") for what in ("dropped", "lost"))
    with RowWriter(output, COLUMNS[to], overwrite) as writer:
        examples = reader.read(read_tables(tables))
        for row in converter.rows(redacted_examples(examples, Counter()) if config.redact else examples):
            writer.write(row.cells)
        if not writer.num_rows:
            raise _nothing_written(to, tables, converter.dropped)
        write_dropped(dropped_path, converter.dropped, overwrite)
        if converter.lost or (overwrite and lost_path.exists()):  # no list of another run stays beside the new file
            write_dropped(lost_path, converter.lost, overwrite)
    return ConvertResult(
        output=str(output),
        read_as=columns.conversations or "",
        written_as=to,
        rows_read=reader.num_rows,
        rows_written=writer.num_rows,
        dropped=count_reasons(converter.dropped),
        dropped_output=str(dropped_path),
        lost=count_reasons(converter.lost),
        lost_output=str(lost_path) if converter.lost else None,
        announcements=[note for table in tables for note in table.announcements] + columns.announcements,
    )


def _default_output(sources: Sequence[str], to: str) -> Path:
    first = sources[0] if sources else "data"
    path = Path("data") if first.startswith(("hf:", "pypi:")) else Path(first)
    return path.with_name(f"{path.name.split('.', 1)[0] or 'data'}.{to}{_LINES}")


def _check(to: str, output: Path) -> None:
    faults = []
    if to not in COLUMNS:
        faults.append(Fault(f"there is no format {to!r}", "--to", None, f"known: {', '.join(COLUMNS)}"))
    suffixes = (_LINES,) if to in NESTED else _TABLES
    if inner_suffix(output) not in suffixes:
        why = "its rows hold lists of messages" if to in NESTED else None
        remedy = f"name a file that ends in {', '.join(suffixes)}"
        found = inner_suffix(output) or "a file without suffix"
        faults.append(Fault(f"{to} cannot be written as {found}", "--output", why, remedy))
    if faults:
        raise ConfigError(faults)


def _refuse_own_input(tables: Sequence[Table], output: Path) -> None:
    if any(Path(table.name).absolute() == output.absolute() for table in tables):
        raise DataError("the output is one of the inputs", where=str(output), remedy="name another with --output")


def _nothing_written(to: str, tables: Sequence[Table], dropped: Sequence[DroppedRow]) -> DataError:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in count_reasons(dropped).items())
    return DataError(
        f"no row can be written as {to}",
        where=", ".join(table.name for table in tables),
        why=f"left out: {reasons}",
        remedy="mend the rows, or convert to openai, which can say everything",
    )
