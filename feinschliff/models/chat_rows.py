"""Conversations and texts as token ids with a weight for each: the training rows, and the same prompts for inference.

A row's ids are those that inference sees: the ids of each trained answer's prompt, tokenized alone, are the row's first
ids. Where the tokenizer joins characters across that border, the answer gets a row made of the prompt's ids and the
answer's (counted). Knows no file, no model and no loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from feinschliff.errors import ModelError
from feinschliff.models.chat_render import Messages, TemplateRenderer, special_tokens
from feinschliff.models.chat_tokens import ChatTokenizer, Ids, Tokens
from feinschliff.models.chat_turns import (
    ChatMessages,
    Loss,
    Mismatch,
    OnMismatch,
    TextRow,
    TextRows,
    Turn,
    TurnReader,
)

ROWS_AT_ONCE = 2_000
"""Tokenized together: places of tokens are Python objects until they are copied."""


@dataclass(slots=True)
class ChatRow:
    """One training row of T tokens."""

    ids: Ids
    """[T]."""
    weights: npt.NDArray[np.float32]
    """[T], of each token as a thing to be predicted; 0: no loss. The first is always 0."""
    conversation: int
    """Which of those given."""
    turn: int | None = None
    """The one message this row is for; None: it is the whole conversation."""
    prompt_tokens: int = 0
    """How many ids stand before the last answer that carries loss: the prompt of inference."""


@dataclass(slots=True)
class RenderedChats:
    """All rows, and everything worth saying about them."""

    rows: list[ChatRow] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Conversations of which nothing is learned, with the reason."""
    num_unrolled: int = 0
    """Answers with a row of their own, because the template writes their history otherwise later."""
    num_border_repairs: int = 0
    """Answers whose first characters the tokenizer would have joined with their prompt; they have rows of their own."""
    mismatches: list[Mismatch] = field(default_factory=list)
    """Answers whose prompt is rendered differently at inference."""
    turns_without_end: list[tuple[int, int]] = field(default_factory=list)
    """(conversation, message) of answers that no special token ends."""
    turns_without_prompt: list[tuple[int, int]] = field(default_factory=list)
    """(conversation, message) of answers before which nothing was said; they carry no loss."""
    special_in_content: dict[int, int] = field(default_factory=dict)
    """Conversation to the number of texts in its contents that are read as special tokens."""
    end_token_ids: tuple[int, ...] = ()
    """Tokens that end answers that carry loss, sorted: generation has to stop at them."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Fields that the template does not write, with the number of conversations that have them."""
    cache_note: str = ""
    """What a cache of rows, where there is one, has to say."""


class ChatRenderer:
    """The tokenizer's chat template at work, in training and at inference alike.

    ``eos_ids``: where generation stops, beside the tokenizer's own. ``arguments`` go to the template by name.

    Raises:
        ModelError: the tokenizer has no chat template, or cannot say where its tokens stand.
    """

    def __init__(self, tokenizer: Any, eos_ids: Iterable[int] = (), arguments: Mapping[str, Any] | None = None) -> None:
        self.renderer = TemplateRenderer(tokenizer, eos_ids, arguments)
        self._tokenizer = ChatTokenizer(tokenizer, self.renderer.specials.values())

    def prompt(self, messages: Messages, tools: Messages = ()) -> str:
        """What the model is given to answer.

        Raises:
            ModelError: the template refuses it.
        """
        return self.renderer.text(messages, tools, generation_prompt=True)

    def prompt_ids(self, messages: Messages, tools: Messages = ()) -> list[int]:
        """The same as ids; they begin the training row of this answer.

        Raises:
            ModelError: the template refuses it.
        """
        return self._tokenizer.ids([self.prompt(messages, tools)])[0]

    def rows(
        self, conversations: Iterable[ChatMessages], loss: Loss = "assistant", on_mismatch: OnMismatch = "report"
    ) -> RenderedChats:
        """Training rows of conversations; see ``TurnReader`` for the rules.

        Raises:
            ConfigError: there is no such rule.
        """
        reader = TurnReader(self.renderer, loss, on_mismatch)
        rendered, numbered, ends = RenderedChats(), enumerate(conversations), set[str]()
        while chunk := list(islice(numbered, ROWS_AT_ONCE)):
            rows: list[tuple[int, TextRow]] = []
            for number, conversation in chunk:
                found = reader.read(conversation, number)
                rows += [(number, row) for row in found.rows]
                ends |= found.ends
                _note(rendered, number, found)
            self._tokenize(rows, rendered)
        rendered.end_token_ids = tuple(sorted(self.renderer.id_of(end) for end in ends))
        return rendered

    def documents(self, texts: Sequence[str]) -> RenderedChats:
        """See :func:`documents`, which needs no template."""
        return documents(self.renderer.tokenizer, texts)

    def _tokenize(self, rows: Sequence[tuple[int, TextRow]], rendered: RenderedChats) -> None:
        tokens = self._tokenizer.tokens([row.text for _, row in rows])
        parts = [
            (row.text, held, turn.border) for (_, row), held in zip(rows, tokens, strict=True) for turn in row.turns
        ]
        borders = iter(self._tokenizer.borders(parts))
        for (number, row), held in zip(rows, tokens, strict=True):
            turns = [(turn, next(borders)) for turn in row.turns]
            clean = [(turn, border) for turn, border in turns if border is not None]
            if clean or row.pieces:
                _keep(rendered, _row(number, row, held, clean))
            for turn in [turn for turn, border in turns if border is None]:
                rendered.num_border_repairs += 1
                _keep(rendered, self._repaired(number, row, turn))

    def _repaired(self, number: int, row: TextRow, turn: Turn) -> ChatRow:
        """The answer behind its prompt's own ids."""
        tokens, border = self._tokenizer.continued(row.text[: turn.border], row.text[turn.border : turn.stop])
        return _row(number, TextRow(row.text[: turn.stop], message=turn.message), tokens, [(turn, border)])


def documents(tokenizer: Any, texts: Sequence[str]) -> RenderedChats:
    """Rows for continued pretraining: every token carries loss, an end token stands last.

    A beginning-of-text token stands first where the tokenizer adds one. ``conversation`` is which of the texts.

    Raises:
        ModelError: the tokenizer has no end token, or cannot say where its tokens stand.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError("the tokenizer has no end token", why="a model would not learn where texts end")
    reader, rendered = ChatTokenizer(tokenizer, special_tokens(tokenizer).values()), RenderedChats(end_token_ids=(end,))
    begin = reader.added()
    for first in range(0, len(texts), ROWS_AT_ONCE):
        for number, ids in enumerate(reader.ids(texts[first : first + ROWS_AT_ONCE]), first):
            if not ids:
                rendered.faults.append((number, "the text is empty"))
                continue
            start = [] if ids[: len(begin)] == begin else begin
            row = np.array([*start, *ids, *([] if ids[-1] == end else [end])], np.int32)
            rendered.rows.append(ChatRow(row, _not_the_first(np.ones(len(row), np.float32)), number))
    return rendered


def _row(number: int, row: TextRow, tokens: Tokens, turns: Sequence[tuple[Turn, int]]) -> ChatRow:
    pieces = row.pieces + [piece for turn, _ in turns for piece in turn.pieces]
    # A part of a content begins, for a person, behind the blank that most tokenizers join with the word after it.
    places = tokens.anchors(row.text) if len(pieces) > len(turns) else tokens.starts
    weights = np.zeros(len(tokens.ids), np.float32)
    for piece in pieces:
        weights[(places >= piece.start) & (places < piece.end)] = piece.weight
    prompt = turns[-1][1] if turns else int(np.count_nonzero(tokens.starts < row.prompt_characters))
    return ChatRow(tokens.ids, _not_the_first(weights), number, row.message, prompt)


def _keep(rendered: RenderedChats, row: ChatRow) -> None:
    if row.weights.any():
        rendered.rows.append(row)
    else:
        rendered.faults.append((row.conversation, "no token of a row carries loss"))


def _not_the_first(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    weights[:1] = 0
    return weights


def _note(rendered: RenderedChats, number: int, found: TextRows) -> None:
    if found.fault is not None:
        rendered.faults.append((number, found.fault))
    rendered.num_unrolled += found.num_unrolled
    rendered.mismatches += found.mismatches
    rendered.turns_without_end += [(number, message) for message in found.without_end]
    rendered.turns_without_prompt += [(number, message) for message in found.without_prompt]
    rendered.ignored += found.ignored
    if found.num_special_in_content:
        rendered.special_in_content[number] = found.num_special_in_content
