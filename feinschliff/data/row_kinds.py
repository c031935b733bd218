"""What a table's rows are (texts or images with labels, numbers, spans, answers; numbers with labels; texts that
belong together; texts to be written; conversations; documents), and their reader.

Knows no file format.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from feinschliff.config.data import DataConfig
from feinschliff.data.answer_rows import AnswerColumns, AnswerReader, looks_like_answers
from feinschliff.data.columns import cell_text, find_columns
from feinschliff.data.conversation_columns import also_prompts, find_conversations, find_prompts
from feinschliff.data.conversation_rows import ConversationReader
from feinschliff.data.document_rows import DocumentReader, find_documents, named_documents
from feinschliff.data.examples import Example
from feinschliff.data.hints import without_labels
from feinschliff.data.image_rows import ImageReader, find_image_columns, refuse_missing_images
from feinschliff.data.number_rows import NumberReader, find_number_columns
from feinschliff.data.other_conversations import as_written_here
from feinschliff.data.pair_rows import PairExampleReader, find_pairs
from feinschliff.data.rows_to_examples import (
    OTHER_FILES,
    ExampleReader,
    RowReader,
    check_table_columns,
    group_and_time,
    refuse_unknown_labels,
    say_unknown_types,
)
from feinschliff.data.sources import open_tables, read_tables
from feinschliff.data.span_columns import SpanColumns, looks_like_spans, nearly_spans
from feinschliff.data.span_rows import SpanReader, with_scheme
from feinschliff.data.tables import Row, Table
from feinschliff.data.text_rows import TextExampleReader, find_texts, nothing_found
from feinschliff.errors import DataError, Fault
from feinschliff.results.data import ColumnsFound, DroppedRow, TagsFound


def columns_of(
    tables: Sequence[Table], sample: Sequence[Row], config: DataConfig, needs_target: bool = True
) -> ColumnsFound:
    """Which columns are what, by the first table; for tags, all rows are read once to find their scheme.

    Raises:
        DataError: a column that was named does not exist, or none is found.
    """
    columns = tables[0].columns
    if config.rows == "numbers":
        return find_number_columns(columns, sample, config)
    if config.rows == "documents":
        return named_documents(columns, sample, config)
    if config.rows in ("auto", "conversations"):
        conversations = find_conversations(columns, sample, config)
        if conversations is not None:
            return conversations
    if config.rows in ("auto", "answers"):
        asked = config.rows == "answers"
        answers = looks_like_answers(columns, sample, config.target, config.text, asked)
        if answers is not None:
            return _with_answers(answers, columns, config)
        if asked:
            raise DataError(
                "no columns of a question, a text and its answers were found",
                where=tables[0].name,
                why=f"columns: {', '.join(columns)}; wanted: question, context and answers (text, answer_start)",
                remedy="name them: --text QUESTION --text CONTEXT --target ANSWERS",
            )
    if config.rows in ("auto", "images"):
        images = find_image_columns(columns, sample, config, needs_target)
        if images is not None:
            return images
    if config.rows in ("auto", "spans"):
        spans = _find_spans(tables, sample, config)
        if spans is not None:
            return spans
    if config.rows in ("auto", "pairs", "texts"):
        found = _find_text_groups(tables, sample, config)
        if found is not None:
            return found
    return _labelled(tables, sample, config, needs_target)


def _find_spans(tables: Sequence[Table], sample: Sequence[Row], config: DataConfig) -> ColumnsFound | None:
    columns, text = tables[0].columns, config.text[0] if len(config.text) == 1 else None
    found = looks_like_spans(columns, sample, config.target, text)
    if found is not None:
        return _with_spans(found, tables, config)
    broken = nearly_spans(columns, sample, config.target)
    if broken is not None:
        raise broken
    if config.rows == "spans":
        raise DataError(
            "no column of spans or tags was found",
            where=tables[0].name,
            why=f"columns: {', '.join(columns)}; wanted: tokens and a tag for each, or a text and a list of spans",
            remedy="name them: --text COLUMN --target COLUMN",
        )
    return None


def _find_text_groups(tables: Sequence[Table], sample: Sequence[Row], config: DataConfig) -> ColumnsFound | None:
    """Texts that belong together, texts to be written from others, prompts with answers, documents."""
    columns, found = tables[0].columns, None
    if config.rows != "texts":
        found = find_pairs(columns, sample, config)
    if found is None and config.rows != "pairs":
        found = find_texts(columns, sample, config)
    if found is None and config.rows == "texts":
        raise nothing_found(columns, tables[0].name)
    if found is None and config.rows == "pairs":
        return _labelled_pairs(tables, sample, config)
    return found or find_prompts(columns, sample, config) or find_documents(tables, sample, config)


def _labelled(tables: Sequence[Table], sample: Sequence[Row], config: DataConfig, needs_target: bool) -> ColumnsFound:
    columns = tables[0].columns
    try:
        found = find_columns(columns, sample, config, needs_target)
    except DataError as error:
        raise without_labels(error, tables[0], sample, config) from error
    if not config.text:
        refuse_missing_images(found.text, sample)
    notes = [*found.announcements, *also_prompts(columns, sample, config)]
    return found.model_copy(update={"announcements": notes})


def _labelled_pairs(tables: Sequence[Table], sample: Sequence[Row], config: DataConfig) -> ColumnsFound:
    """Two texts and a number of how near they are."""
    columns = tables[0].columns
    found = find_columns(columns, sample, config.model_copy(update={"rows": "values"}), needs_target=False)
    if found.target is None or len(found.text) != 2:
        raise DataError(
            "neither texts that belong together nor two texts with a number were found",
            where=tables[0].name,
            why=f"columns: {', '.join(columns)}; wanted: anchor and positive (and negative), or two texts and a number",
            remedy="name them: --text COLUMN --text COLUMN, and for a number --target COLUMN",
        )
    return found


def _with_answers(found: AnswerColumns, columns: Sequence[str], config: DataConfig) -> ColumnsFound:
    _check_roles(columns, config)
    said = f"questions in column {found.question!r}, texts in {found.context!r}, their answers in {found.target!r}"
    return ColumnsFound(
        text=[found.question, found.context],
        target=found.target,
        group=config.group,
        time=config.time,
        kind="answers",
        announcements=[said, "questions of one text, and of one title where there is one, stay on one side of a split"],
    )


def _with_spans(found: SpanColumns, tables: Sequence[Table], config: DataConfig) -> ColumnsFound:
    _check_roles(tables[0].columns, config)
    found = SpanColumns(found.text, found.target, found.shape, found.reason, found.scheme, config.tag_names)
    found, said = with_scheme(found, read_tables(tables))
    used = {found.text, found.target, config.group, config.time}
    ignored = [name for name in tables[0].columns if name not in used]
    notes = [found.reason, *said]
    if ignored:
        notes.append(f"columns not used: {', '.join(map(repr, ignored))}")
    tags = TagsFound(scheme=found.scheme, names=list(found.names)) if found.shape == "tags" else None
    return ColumnsFound(
        text=[found.text],
        target=found.target,
        group=config.group,
        time=config.time,
        kind="spans",
        tags=tags,
        announcements=notes,
    )


def _check_roles(columns: Sequence[str], config: DataConfig) -> None:
    faults = []
    for role, name in (("group", config.group), ("time", config.time)):
        if name is not None and name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
            hint = f"did you mean --{role} {near[0]}? " if near else ""
            faults.append(
                Fault(f"there is no column {name!r}", f"--{role}", None, f"{hint}columns: {', '.join(columns)}")
            )
    if faults:
        raise DataError(faults)


def reader_of(columns: ColumnsFound, needs_labels: bool = True) -> RowReader:
    """The reader for rows of this kind."""
    if columns.kind == "answers":
        return AnswerReader(columns, needs_labels)
    if columns.kind == "texts":
        return TextExampleReader(columns, needs_labels)
    if columns.kind == "pairs":
        return PairExampleReader(columns, needs_labels)
    if columns.kind == "conversations":
        return ConversationReader(columns, needs_labels)
    if columns.kind == "documents":
        return DocumentReader(columns, needs_labels)
    if columns.numbers:
        return NumberReader(columns, needs_labels)
    if columns.image is not None:
        return ImageReader(columns, needs_labels)
    return SpanExampleReader(columns, needs_labels) if columns.kind == "spans" else ExampleReader(columns, needs_labels)


@dataclass(slots=True)
class SpanExampleReader(RowReader):
    """Rows with spans to examples: the text, its spans, and the labels that occur in it."""

    _reader: SpanReader = field(init=False)

    def __post_init__(self) -> None:
        tags = self.columns.tags
        found = SpanColumns(
            self.columns.text[0],
            self.columns.target or "",
            "tags" if tags else "spans",
            scheme=tags.scheme if tags else "IOB2",
            names=tuple(tags.names) if tags else (),
        )
        self._reader = SpanReader(found, self.needs_labels, self.dropped)

    def example(self, row: Row) -> Example | None:
        """See ``RowReader``. To predict, a text may stand where tokens stood in training."""
        number, cell = self.num_rows, row.cells.get(self.columns.text[0])
        self.num_rows += 1
        group, time = group_and_time(row, self.columns)
        if not self.needs_labels and isinstance(cell, str) and cell_text(cell):
            return Example((cell,), (), row.place, group, time, number)
        found = self._reader.spans(row)
        if found is None:
            return None
        text, spans = found
        labels = tuple(sorted({span.label for span in spans}))
        return Example((text,), labels, row.place, group, time, number, spans=spans)

    def announcements(self) -> list[str]:
        """See ``RowReader``."""
        return self._reader.announcements()


def load_examples(
    sources: Sequence[str],
    config: DataConfig,
    columns: ColumnsFound,
    known_labels: Collection[str] | None = None,
    needs_labels: bool = True,
    why: str = OTHER_FILES,
) -> tuple[list[Example], list[DroppedRow], list[str]]:
    """Read files with the columns of a run, to evaluate or (``needs_labels=False``) to predict.

    To predict, a file with one column need not name it as the run's did, and labels are read where they are there.

    Returns:
        examples, rows dropped, announcements.

    Raises:
        DataError: unreadable files, missing columns, no usable row, or labels that are not among ``known_labels``.
    """
    tables = open_tables(sources, config)
    given, columns = columns, as_written_here(tables, columns, config, needs_labels)
    any_will_do = len(columns.text) == 1 or columns.kind == "pairs"
    if not needs_labels and any_will_do and all(len(table.columns) == 1 for table in tables):
        alone: dict[str, object] = {
            "text": tables[0].columns,
            "target": None,
            "values": [],
            "group": None,
            "time": None,
        }
        if columns.image is not None:
            alone["image"] = tables[0].columns[0]
        columns = columns.model_copy(update=alone)
    check_table_columns(tables, columns, needs_labels, why)
    reader = reader_of(columns, needs_labels)
    examples = list(reader.read(read_tables(tables)))
    unknown: list[str] = []
    if known_labels is not None and columns.kind == "spans":
        unknown = say_unknown_types(examples, known_labels)
    elif known_labels is not None:
        refuse_unknown_labels(examples, known_labels, "the run does not know it")
    if not examples:
        raise DataError(
            "no row can be used",
            where=", ".join(sources),
            why="; ".join(reader.announcements()) or "empty",
            remedy="mend the rows, or name other columns: --text COLUMN, --target COLUMN",
        )
    said = [note for table in tables for note in table.announcements]
    said += columns.announcements if given.text != columns.text or given.parts != columns.parts else []
    return examples, reader.dropped, said + reader.announcements() + unknown
