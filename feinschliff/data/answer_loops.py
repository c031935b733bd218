"""Answers that go round in circles: the same few words again and again, as models write that lost their way.

Knows texts only. All answers of a chunk lie end to end as numbers, so each period is one comparison of arrays.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from feinschliff.data.near_duplicates import words

LONGEST_PERIOD_WORDS = 40
FEWEST_REPEATS = 4
"""So often the same words must follow one another ..."""
FEWEST_WORDS = 24
"""... and cover so many words together: a chorus, or `ha ha ha`, is none."""


def loops_of(texts: Sequence[str]) -> dict[int, str]:
    """Of the texts that loop, their numbers and the words they repeat (as they are compared: small, without marks)."""
    split = [words(text) for text in texts]
    number_T, row_T = _laid_out(split)
    found: dict[int, tuple[int, str]] = {}
    for period in range(1, min(LONGEST_PERIOD_WORDS, len(number_T) - 1) + 1):
        shortest = max((FEWEST_REPEATS - 1) * period, FEWEST_WORDS - period)
        starts = _runs(number_T[period:] == number_T[:-period], shortest)
        for start in starts.tolist():
            row = int(row_T[start])
            first = int(np.searchsorted(row_T, row))
            unit = split[row][start - first : start - first + period]
            if row not in found and any(letter.isalpha() for word in unit for letter in word):
                found[row] = (period, " ".join(unit))
    return {row: unit for row, (_, unit) in sorted(found.items())}


def _laid_out(split: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each word as a number, [T], and the row it belongs to; behind each row a number that occurs nowhere else."""
    numbers = [
        np.array([*(zlib.crc32(word.encode()) for word in row), -1 - place], dtype=np.int64)
        for place, row in enumerate(split)
    ]
    lengths = [len(row) for row in numbers]
    return np.concatenate([*numbers, np.empty(0, dtype=np.int64)]), np.repeat(np.arange(len(split)), lengths)


def _runs(same: NDArray[np.bool_], shortest: int) -> NDArray[np.intp]:
    """Where runs of True begin that are at least so long."""
    edges = np.diff(same.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return starts[ends - starts >= shortest]
