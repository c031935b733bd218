"""Questions with their texts to tokens in windows, and where in them the answers stand. Knows no model and no loss.

Each window is the question and a part of the text; windows of one text overlap. A window that does not hold the whole
answer points to its first token, as one whose text has no answer does (Devlin et al. 2019, SQuAD 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from feinschliff.data.examples import Answer, Example
from feinschliff.data.spans import Ints
from feinschliff.data.token_tags import filled_ranges
from feinschliff.engine.batching import TokenTable, TokenTargets
from feinschliff.tasks._task import EncodedSet

TOKENIZE_ROWS = 512
"""Questions tokenized at once; bounds memory."""
MOST_QUESTION_TOKENS = 64
"""The rest of a longer question is not read (Devlin et al. 2019)."""
START, END, INSIDE, FIRST = 1, 2, 4, 8
"""What a token is, added up as its target: where the answer starts, where it ends, a part of the text, the first."""


@dataclass(slots=True)
class EncodedQuestions(EncodedSet):
    """Windows as rows of the table, those of an example side by side. ``num_cut``: questions that were cut."""

    ranges_T2: npt.NDArray[np.int32] | None = None
    """[T, 2] from and up to which character of the text each token goes; of tokens without virtual ones."""
    begins_W: Ints | None = None
    """[W] where among them each window begins."""
    first_windows: Ints | None = None
    """[N + 1] where the windows of each example begin."""
    num_inexact: int = 0
    """Windows whose answer begins or ends inside a token."""


class _Window(NamedTuple):
    ids: list[int]
    segments: list[int] | None
    ranges_T2: Ints
    values_T: Ints
    inexact: bool


def encode_questions(
    tokenizer: Any, examples: Sequence[Example], limit: int, overlap_fraction: float
) -> EncodedQuestions:
    """All windows of all examples, with their targets; without answers all point to the first token."""
    questions, num_cut = cut_questions(tokenizer, examples, limit)
    windows: list[_Window] = []
    counts = []
    for row in _rows(tokenizer, questions, examples, limit, overlap_fraction):
        windows += row
        counts.append(len(row))
    offsets = np.cumsum([0, *(len(window.ids) for window in windows)])
    segmented = bool(windows) and windows[0].segments is not None
    return EncodedQuestions(
        table=TokenTable(
            _joined([np.asarray(window.ids, np.int32) for window in windows], np.empty(0, np.int32)),
            offsets,
            np.concatenate([np.asarray(window.segments, np.int8) for window in windows]) if segmented else None,
        ),
        targets=TokenTargets(_joined([window.values_T for window in windows], np.empty(0, np.int64))),
        num_cut=num_cut,
        examples=examples,
        ranges_T2=_joined([window.ranges_T2 for window in windows], np.empty((0, 2), np.int64)).astype(np.int32),
        begins_W=offsets[:-1],
        first_windows=np.cumsum([0, *counts]),
        num_inexact=sum(window.inexact for window in windows),
    )


def cut_questions(tokenizer: Any, examples: Sequence[Example], limit: int) -> tuple[list[str], int]:
    """The questions, the long ones without their ends, and how many were cut."""
    most, num_cut, cut = _most_question_tokens(tokenizer, limit), 0, []
    for begin in range(0, len(examples), TOKENIZE_ROWS):
        texts = [example.texts[0] for example in examples[begin : begin + TOKENIZE_ROWS]]
        found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for text, offsets in zip(texts, found["offset_mapping"], strict=True):
            num_cut += len(offsets) > most
            cut.append(text[: offsets[most - 1][1]] if len(offsets) > most else text)
    return cut, num_cut


def _most_question_tokens(tokenizer: Any, limit: int) -> int:
    room = limit - int(tokenizer.num_special_tokens_to_add(pair=True))
    return min(MOST_QUESTION_TOKENS, room // 2)


def _rows(
    tokenizer: Any, questions: Sequence[str], examples: Sequence[Example], limit: int, overlap_fraction: float
) -> Iterator[list[_Window]]:
    room = limit - tokenizer.num_special_tokens_to_add(pair=True) - _most_question_tokens(tokenizer, limit)
    for begin in range(0, len(examples), TOKENIZE_ROWS):
        part = examples[begin : begin + TOKENIZE_ROWS]
        found = tokenizer(
            list(questions[begin : begin + TOKENIZE_ROWS]),
            [example.texts[1] for example in part],
            truncation="only_second",
            max_length=limit,
            stride=int(overlap_fraction * room),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        rows: list[list[_Window]] = [[] for _ in part]
        for number, row in enumerate(found["overflow_to_sample_mapping"]):
            rows[row].append(_window(found, number, part[row]))
        yield from rows


def _window(found: Any, number: int, example: Example) -> _Window:
    ids, text = found["input_ids"][number], example.texts[1]
    of_text = np.array([one == 1 for one in found.sequence_ids(number)], dtype=bool)
    ranges_T2 = filled_ranges(found["offset_mapping"][number], text)
    inside = np.flatnonzero(of_text & (ranges_T2[:, 1] > ranges_T2[:, 0]))
    values_T = np.zeros(len(ids), dtype=np.int64)
    values_T[0] = FIRST
    values_T[inside] = INSIDE
    answer = _most_given(example.answers or ())
    place = None if answer is None else _place(answer, ranges_T2[inside])
    first, last = (0, 0) if place is None else (int(inside[place[0]]), int(inside[place[1]]))
    values_T[first] += START
    values_T[last] += END
    exact = place is None or answer == Answer(int(ranges_T2[first, 0]), int(ranges_T2[last, 1]))
    segments = found["token_type_ids"][number] if "token_type_ids" in found else None
    return _Window(ids, segments, ranges_T2, values_T, not exact)


def _most_given(answers: Sequence[Answer]) -> Answer | None:
    """The answer that is learned: the most frequent, of these the first."""
    return Counter(answers).most_common(1)[0][0] if answers else None


def _place(answer: Answer, ranges_I2: Ints) -> tuple[int, int] | None:
    """The first and the last token of an answer, or None where the window does not hold all of it."""
    if not len(ranges_I2) or answer.start < ranges_I2[0, 0] or answer.end > ranges_I2[-1, 1]:
        return None
    first = int(np.searchsorted(ranges_I2[:, 1], answer.start, "right"))
    last = int(np.searchsorted(ranges_I2[:, 0], answer.end, "left")) - 1
    return (first, last) if first <= last else None


def _joined(parts: list[Any], empty: Any) -> Any:
    return np.concatenate(parts) if parts else empty
