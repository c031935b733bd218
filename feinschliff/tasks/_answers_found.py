"""Answers found in texts, and which of them are given. Knows no model and no tokenizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feinschliff.data.examples import Example
from feinschliff.results.answers import answer_f1, best_no_answer_threshold, exact_match, has_answer

SCORES = {"answer_f1": answer_f1, "exact_match": exact_match}
FAR = 1e9
"""Score of what is not in question."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in one text."""

    spans: tuple[tuple[int, int, float], ...]
    """Start, end (characters) and score, the best first."""
    none: float
    """Score of no answer."""

    @property
    def margin(self) -> float:
        """By how much no answer scores above the best one."""
        return self.none - self.spans[0][2] if self.spans else math.inf


def golds(examples: Sequence[Example]) -> list[list[str]]:
    """The right answers of each question as texts."""
    return [[example.texts[1][one.start : one.end] for one in example.answers or ()] for example in examples]


def texts(answers: Sequence[Found], examples: Sequence[Example], threshold: float | None) -> list[str]:
    """The answers given, empty for none; without a threshold there always is one."""
    return [
        ""
        if not found.spans or (threshold is not None and found.margin > threshold)
        else example.texts[1][found.spans[0][0] : found.spans[0][1]]
        for found, example in zip(answers, examples, strict=True)
    ]


def best_threshold(answers: Sequence[Found], examples: Sequence[Example], metric: str) -> float | None:
    """The best one for these rows; None where each of them has an answer."""
    wanted = golds(examples)
    answerable = has_answer(wanted)
    if answerable.all():
        return None
    scores = np.array([SCORES[metric](g, p) for g, p in zip(wanted, texts(answers, examples, None), strict=True)])
    margins = np.clip([found.margin for found in answers], -FAR, FAR)
    return best_no_answer_threshold(scores, margins, answerable)[0]
