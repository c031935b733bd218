"""The rows a run learns from: examples with their place in a file, and the sets they are split into.

Knows no file format (see ``sources``) and no tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np

from feinschliff.data.conversations import TOOL_CALLS, Conversation, sameness
from feinschliff.data.images import ImageRef
from feinschliff.data.spans import Span
from feinschliff.results.data import ColumnsFound, DroppedRow


@dataclass(frozen=True, slots=True)
class Place:
    """File and number a row came from, 1-based; no two rows of a file have the same.

    ``line`` counts lines as an editor does; rows in parquet, Excel and ``hf:`` sets; and the records of a json array
    where two of them share a line. A text of a folder is a file of its own, with line 1.
    """

    file: str
    line: int


@dataclass(frozen=True, slots=True, order=True)
class Answer:
    """Characters of a text, from ``start`` up to, not including, ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Example:
    """One row: one text or a pair, its labels (one, several, or none where it is to be predicted), and its place."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    place: Place
    group: str | None = None
    time: str | None = None
    number: int = field(default=-1, compare=False)
    """Which row it was, from 0, of all that its reader saw: a key even where a file is read twice. -1: not counted."""
    values: tuple[float, ...] = ()
    """Numbers to be predicted, in the order of the target columns; NaN where a row lacks one."""
    spans: tuple[Span, ...] = ()
    """Labelled pieces of the text, in order and apart from each other; ``labels`` are those that occur."""
    answers: tuple[Answer, ...] | None = None
    """Of a question (the first text), in the second text; empty: it has none. None: not a question, or not known."""
    references: tuple[str, ...] = ()
    """Texts of which any would be right to write; the first is trained on."""
    image: ImageRef | None = None
    """The image that stands in the text's place; ``texts`` is then its path as people know it."""
    numbers: tuple[float, ...] = ()
    """The numbers that stand in the text's place; ``texts`` is then how they are shown."""
    conversation: Conversation | None = None
    """Messages; ``texts`` is then the prompt as one text, ``references`` the last answer where there is one."""

    @property
    def content(self) -> tuple[str, ...]:
        """What makes two rows the same: texts, numbers as one word, the hash of the image's pixels, or a prompt."""
        if self.numbers:
            return (blake2b(np.array(self.numbers).tobytes(), digest_size=16).hexdigest(),)
        if self.conversation is not None:
            return sameness(self.conversation)
        return self.texts if self.image is None else (self.image.digest,)

    def without_target(self) -> Example:
        """The row as one to be answered."""
        asked = self.conversation.without_answer() if self.conversation is not None else None
        return replace(self, labels=(), values=(), spans=(), answers=None, references=(), conversation=asked)


@dataclass(slots=True)
class Splits:
    """The sets of a run. Rows that could not be used are listed with the reason, never lost."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    columns: ColumnsFound
    label_names: list[str]
    """All classes, sorted."""
    dropped: list[DroppedRow] = field(default_factory=list)
    announcements: list[str] = field(default_factory=list)


def answer_of(example: Example) -> tuple[str, ...]:
    """What was to be answered, as one key: labels in any order (of spans: those that occur), numbers, or texts."""
    if example.answers is not None:
        return tuple(sorted({example.texts[1][answer.start : answer.end] for answer in example.answers}))
    if example.references:
        return example.references
    return tuple(sorted(example.labels)) or tuple(f"{value:.12g}" for value in example.values)


def target_of(example: Example) -> tuple[str, ...]:
    """The same, with the places of spans, and with what messages hold besides their words."""
    spans = tuple(f"{span.start}-{span.end} {span.label}" for span in example.spans)
    return answer_of(example) + spans + _beside_words(example.conversation)


def _beside_words(conversation: Conversation | None) -> tuple[str, ...]:
    """Weights, reasoning, names ... of all messages as one word; none where no message holds such.

    Ids of tool calls do not count: two rows with other ids say the same.
    """
    found = []
    for number, message in enumerate(conversation.messages if conversation is not None else ()):
        spans = [[span.start, span.end, span.weight] for span in message.spans]
        extra = {key: value for key, value in sorted(message.extra.items()) if key not in _SAID_OR_MADE_UP}
        if message.weight is not None or spans or extra:
            found.append([number, message.weight, spans, extra])
    written = json.dumps(found, default=str).encode()
    return (blake2b(written, digest_size=16).hexdigest(),) if found else ()


_SAID_OR_MADE_UP = (TOOL_CALLS, "tool_call_id")


def label_names(examples: Sequence[Example]) -> list[str]:
    """All labels that occur, sorted; numeric labels in numeric order."""
    found = {label for example in examples for label in example.labels}
    return sorted(found, key=lambda name: (0, float(name), name) if _is_number(name) else (1, 0.0, name))


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
