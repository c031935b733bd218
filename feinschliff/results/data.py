"""What was found in the data. Knows no file format."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.results.measures import Result

Severity = Literal["info", "warning", "error"]


class RowRef(Result):
    """Where a row stands, and how it begins."""

    file: str
    line: int
    """The row's line; its number where rows are no lines (parquet, Excel, `hf:`, a json array with shared lines)."""
    text: str = ""
    """The first characters of the row's text."""
    note: str = ""
    """What this row shows (its label, its twin's place, the suggested label)."""


class Finding(Result):
    """One kind of fault or fact, with its count and some of its rows."""

    kind: str
    """Short stable name: empty, duplicate, near_duplicate, conflicting_labels, label_spelling, imbalance, length,
    label_error, overlap, cell_size ..."""
    severity: Severity
    count: int
    """How many rows it concerns."""
    message: str
    """One sentence a person understands."""
    remedy: str = ""
    """What to do about it, where something should be done."""
    examples: list[RowRef] = Field(default_factory=list)


class LengthSummary(Result):
    """Lengths in tokens and what a limit would cut."""

    mean: float
    median: float
    p95: float
    p99: float
    longest: int
    limit: int
    """The limit in force."""
    cut_at: dict[int, float] = Field(default_factory=dict)
    """Limit in tokens -> share of rows that it would cut."""


Kind = Literal[
    "single_label", "multi_label", "values", "spans", "answers", "pairs", "texts", "conversations", "documents"
]
Scheme = Literal["IO", "IOB1", "IOB2", "BIOES", "BILOU", "BMES"]


class TagsFound(Result):
    """How a column of tags is to be read."""

    scheme: Scheme
    names: list[str] = Field(default_factory=list)
    """What tags that are numbers mean, in their order."""


class ColumnsFound(Result):
    """Which columns were taken for what, and why."""

    text: list[str]
    target: str | None
    group: str | None = None
    time: str | None = None
    label_separator: str | None = None
    kind: Kind = "single_label"
    """What a row's target is: one label, several, numbers, labelled spans of the text, or a question's answers; or
    pairs: texts that belong together, with or without some that do not; or texts to be written from others; or
    conversations, or documents whose every token is learned."""
    conversations: str | None = None
    """How conversations are written: the name of their format."""
    parts: dict[str, str] = Field(default_factory=dict)
    """Where else parts of conversations stand: system, input, history, tools ... -> the column."""
    values: list[str] = Field(default_factory=list)
    """The columns of the numbers to be predicted."""
    image: str | None = None
    """The column of images, where rows are images; ``text`` names it too."""
    numbers: list[str] = Field(default_factory=list)
    """The columns that are read, in their order, where rows are numbers; ``text`` is then empty."""
    tags: TagsFound | None = None
    """Spans that are given as a tag for each token; None: by characters."""
    announcements: list[str] = Field(default_factory=list)
    """Sentences: `label column "category": name and 77 values` ..."""


class DroppedRow(Result):
    """A row that is not used, and why. Nothing is dropped without one of these."""

    file: str
    line: int
    reason: str
    text: str = ""


class CleanResult(Result):
    """The answer of `data clean`."""

    output: str
    """The cleaned file."""
    dropped_output: str
    """csv with file, line, reason and text of every row that is not in the cleaned file."""
    rows_read: int
    rows_written: int
    dropped: dict[str, int] = Field(default_factory=dict)
    """Reason -> rows."""
    changed_labels: dict[str, str] = Field(default_factory=dict)
    """Label as it was written -> as it is written now."""
    num_changed_labels: int = 0
    redacted: dict[str, int] | None = None
    """Kind of personal data, as it stands in brackets in the file -> how often it was replaced; None: not asked for."""
    redacted_rows: int = 0
    """Rows in which something was replaced."""
    redacted_beside: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Column that is not learned -> the same for it alone."""
    announcements: list[str] = Field(default_factory=list)


class SplitResult(Result):
    """The answer of `data split`."""

    files: dict[str, str]
    """train, validation, test -> the file written."""
    rows: dict[str, int]
    """train, validation, test -> rows."""
    dropped_output: str
    """csv with file, line, reason and text of every row that is in none of the files."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Reason -> rows."""
    seed: int = 0
    announcements: list[str] = Field(default_factory=list)


class ConvertResult(Result):
    """The answer of `data convert`."""

    output: str
    """The file written."""
    read_as: str
    """The format that was read: openai, sharegpt, alpaca, prompt_completion."""
    written_as: str
    rows_read: int
    rows_written: int
    dropped: dict[str, int] = Field(default_factory=dict)
    """Reason -> rows that are not in the file: unusable, or not to be said in its format."""
    dropped_output: str
    """csv with file, line, reason and text of every row that is not in the file."""
    lost: dict[str, int] = Field(default_factory=dict)
    """What the format cannot say -> rows that were written without it."""
    lost_output: str | None = None
    """csv with file, line, what was lost and text of each of these rows; None: nothing was lost."""
    announcements: list[str] = Field(default_factory=list)


class DataReport(Result):
    """The answer of `data check`."""

    files: list[str]
    rows: int
    columns: ColumnsFound
    label_counts: dict[str, int] = Field(default_factory=dict)
    lengths: LengthSummary | None = None
    findings: list[Finding] = Field(default_factory=list)
    seconds: float = 0.0
    sha256: dict[str, str] = Field(default_factory=dict)
    """File -> hash of its bytes; a data set of the Hub -> `commit` and the commit that was read."""
