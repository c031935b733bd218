"""What `data show` shows: rows as they are learned, token by token, and what all rows come to. Knows no tokenizer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.results.data import ColumnsFound
from feinschliff.results.measures import Result


class Refusal(Result):
    """A reason for which a run on these rows would be refused before its first step."""

    what: str
    where: str | None = None
    why: str | None = None
    remedy: str | None = None


class TokenRow(Result):
    """One row of training; a conversation or a document has one, or several, or none."""

    file: str
    line: int
    message: int | None = None
    """The one message that this row is for, from 1; None: it is the whole conversation, or a document."""
    num_tokens: int = 0
    num_with_loss: int = 0
    tokens: list[str] = Field(default_factory=list)
    """What each token says; of a character that several tokens make, the last one has it. Of a very long row its begin
    and its end."""
    ids: list[int] = Field(default_factory=list)
    weights: list[float] = Field(default_factory=list)
    """Of each token's loss; 0: it is read, not learned."""
    borders: list[int] = Field(default_factory=list)
    """Tokens (their places in ``tokens``) before which the row is cut: what follows is left out, or read by itself."""
    gap: int | None = None
    """The place in ``tokens`` before which some are not shown."""
    notes: list[str] = Field(default_factory=list)
    """Why it is not learned, or not as a whole."""


class PlainRow(Result):
    """One row as it is read, where nothing is known of tokens."""

    file: str
    line: int
    values: dict[str, str]
    """Column -> what it says."""
    note: str = ""
    """Why a run leaves it out."""


class WithoutLoss(Result):
    """Rows of which nothing is learned, for one reason."""

    reason: str
    rows: int
    places: list[str]
    """The first of them, as file and line."""


class TokenTotals(Result):
    """What all rows of the files come to."""

    rows: int
    """Conversations or documents that can be used."""
    training_rows: int
    """What they are learned as: answers with rows of their own, windows of long rows and lost rows make a difference.
    """
    tokens: int
    """Of these rows, without what is cut or dropped."""
    tokens_with_loss: int
    loss_weight: float
    """The weights of these tokens, added up."""
    without_loss: list[WithoutLoss] = Field(default_factory=list)
    """Rows of which nothing is learned."""
    limit_tokens: int
    """The longest row that is learned as a whole."""
    longest_tokens: int
    long_rows: dict[str, int] = Field(default_factory=dict)
    """What becomes of longer rows (cut, dropped, read in windows) -> how many of them."""
    rows_of_their_own: int = 0
    """Answers whose history the template tells otherwise later."""
    end_tokens: list[str] = Field(default_factory=list)
    """Tokens that end what is learned: generation stops at them."""


class TemplateFound(Result):
    """Which chat template writes the rows."""

    name: str
    origin: Literal["tokenizer", "catalogue", "file"]
    said: str
    """The same in words."""


class ShowResult(Result):
    """The answer of `data show`."""

    files: list[str]
    rows_read: int
    columns: ColumnsFound
    left_out: dict[str, int] = Field(default_factory=dict)
    """Reason -> rows that no run can use."""
    task: str | None = None
    """None: the rows are shown as they are read."""
    model: str | None = None
    """Whose tokenizer was taken."""
    loss_on: list[str] = Field(default_factory=list)
    template: TemplateFound | None = None
    """None: documents need none."""
    shown: list[TokenRow] = Field(default_factory=list)
    special_ids: list[int] = Field(default_factory=list)
    """Tokens in ``shown`` that are no text but marks."""
    read: list[PlainRow] = Field(default_factory=list)
    """Rows to show, where nothing is known of tokens."""
    totals: TokenTotals | None = None
    notes: list[str] = Field(default_factory=list)
    """What a run would say of these rows."""
    refusals: list[Refusal] = Field(default_factory=list)
    """Why a run would be refused; the first loss, which needs the model itself, is not looked at."""
