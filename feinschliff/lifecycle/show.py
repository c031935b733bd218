"""The verb ``data show``: rows as they would be learned, token by token, and what all rows of the files come to.

Of the model its tokenizer is read, never its weights. Rows of tasks that do not continue texts are shown as they are
read. Prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from feinschliff import registry
from feinschliff.config.data import DataConfig
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Example
from feinschliff.data.load import open_with_columns
from feinschliff.data.personal_data import said as kinds_and_counts
from feinschliff.data.redaction import redact_dropped, redacted_examples
from feinschliff.data.row_kinds import reader_of
from feinschliff.data.rows_to_examples import RowReader, count_reasons
from feinschliff.data.sources import read_tables
from feinschliff.data.tables import Table
from feinschliff.errors import DataError
from feinschliff.lifecycle.decoders import decoder_of, limit_tokens
from feinschliff.lifecycle.observing import Observer
from feinschliff.lifecycle.recognise import with_rows, with_task
from feinschliff.lifecycle.shown_tokens import TokenRows, totals
from feinschliff.lifecycle.shown_values import plain_rows, refuse_other_lines
from feinschliff.results.data import ColumnsFound, DroppedRow
from feinschliff.results.tokens import Refusal, ShowResult, TemplateFound, TokenRow
from feinschliff.tasks import _chat_encoding
from feinschliff.tasks._chat_rules import ChatReading, reading, rules_of

CHATS = ("conversations", "documents")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are shown, and how much of them."""

    num_rows: int = 3
    """From the first on."""
    lines: tuple[int, ...] = ()
    """The lines (see ``Place``) of those that are shown instead."""
    max_tokens: int = 2000
    """Of longer rows begin and end are shown."""


def show(
    config: RunConfig, given: Collection[str], wanted: Wanted | None = None, observers: Sequence[Observer] = ()
) -> ShowResult:
    """The rows of ``config.data.train``: some of them with their tokens, and the totals of all.

    Args:
        given: fields that the person set.

    Raises:
        DataError: files that cannot be read, or no row that can be used, or none at one of the lines.
        ModelError: the model cannot be had, or is no decoder.
        ConfigError: the options do not fit each other.
    """
    wanted = wanted or Wanted()
    config = with_rows(config, given)
    tables, columns = open_with_columns(config.data.train, config.data, needs_target=False)
    if columns.kind in CHATS:
        config = with_task(config, given, columns, lambda _: None)
        if registry.says("task", config.task.type, "CONTINUES_TEXTS"):
            return _Chats(config, tables, columns, observers).result(wanted)
    read, num_read, left_out = plain_rows(tables, columns, config.data, wanted.num_rows, wanted.lines)
    return ShowResult(
        files=[table.name for table in tables],
        rows_read=num_read,
        columns=columns.model_copy(update={"announcements": _said(tables, columns)}),
        left_out=left_out,
        read=read,
    )


@dataclass(slots=True)
class _Chats:
    """Conversations or documents, read with a model's tokenizer."""

    config: RunConfig
    tables: Sequence[Table]
    columns: ColumnsFound
    observers: Sequence[Observer]
    examples: list[Example] = field(init=False)
    dropped: list[DroppedRow] = field(init=False)
    num_read: int = field(init=False)
    announcements: list[str] = field(init=False)

    def result(self, wanted: Wanted) -> ShowResult:
        """See :func:`show`."""
        self._read()
        chosen = self._chosen(wanted)
        folder = decoder_of(self.config.model.source, self.config.model.new_tokens, self.observers)
        asked: Any = self.config.task
        chat = reading(folder.tokenizer, asked, folder.end_ids)
        documents = self.columns.kind == "documents"
        rules = rules_of(asked, limit_tokens(self.config, folder), documents=documents)
        encoded, rendered = _chat_encoding.encode(chat.renderer, self.examples, rules)
        faults = list(encoded.faults) if documents else [*chat.disagreements, *encoded.faults]
        shower = TokenRows(chat, rules, rendered, wanted.max_tokens)
        shown = [*self._unusable(wanted.lines), *(row for n in chosen for row in shower.rows(n, self.examples[n]))]
        return ShowResult(
            files=[table.name for table in self.tables],
            rows_read=self.num_read,
            columns=self.columns.model_copy(update={"announcements": self.announcements}),
            left_out=count_reasons(self.dropped),
            task=self.config.task.type,
            model=self.config.model.source,
            loss_on=["all"] if documents else list(asked.loss_on),
            template=None if documents else _template(chat),
            shown=shown,
            special_ids=sorted(shower.special_ids & {one for row in shown for one in row.ids}),
            totals=totals(self.examples, shower, set(encoded.owner.tolist()), len(encoded.table)),
            notes=[*([] if documents else chat.announcements[len(chat.template.announcements) :]), *encoded.notes],
            refusals=[Refusal(what=one.what, where=one.where, why=one.why, remedy=one.remedy) for one in faults],
        )

    def _read(self) -> None:
        reader = reader_of(self.columns)
        self.examples, counts = _examples(reader, self.tables, self.config.data)
        redacts = self.config.data.redact
        self.dropped = list(map(redact_dropped, reader.dropped)) if redacts else reader.dropped
        self.num_read = reader.num_rows
        self.announcements = _said(self.tables, self.columns)
        if counts:
            self.announcements.append(f"personal data replaced: {kinds_and_counts(counts)}")
        if not self.examples:
            raise DataError(
                "no row can be used",
                where=", ".join(table.name for table in self.tables),
                why="; ".join(reader.announcements()) or "empty",
                remedy="mend the rows, or name other columns: --text COLUMN, --target COLUMN",
            )

    def _chosen(self, wanted: Wanted) -> list[int]:
        """Which examples are shown.

        Raises:
            DataError: no row stands at one of the lines.
        """
        if not wanted.lines:
            return list(range(min(wanted.num_rows, len(self.examples))))
        known = [example.place.line for example in self.examples]
        refuse_other_lines(wanted.lines, [*known, *(row.line for row in self.dropped)], self.tables)
        return [number for number, line in enumerate(known) if line in wanted.lines]

    def _unusable(self, lines: Sequence[int]) -> list[TokenRow]:
        return [
            TokenRow(file=row.file, line=row.line, notes=[f"left out: {row.reason}"])
            for row in self.dropped
            if row.line in lines
        ]


def _template(chat: ChatReading) -> TemplateFound:
    said = "; ".join(chat.template.announcements).removeprefix("chat template: ")
    return TemplateFound(name=chat.template.name, origin=chat.template.origin, said=said)


def _examples(reader: RowReader, tables: Sequence[Table], config: DataConfig) -> tuple[list[Example], Counter[str]]:
    """All that can be used, and what was replaced in them."""
    counts: Counter[str] = Counter()
    rows: Iterator[Example] = reader.read(read_tables(tables))
    return list(redacted_examples(rows, counts) if config.redact else rows), counts


def _said(tables: Sequence[Table], columns: ColumnsFound) -> list[str]:
    return [note for table in tables for note in table.announcements] + columns.announcements
