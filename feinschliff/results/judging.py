"""A judge reads answers: which of two is better, or how good one is. Builds prompts, reads verdicts, adds them up.

A judge is a function from texts to texts. Knows no endpoint, no model and no file.

Judges prefer places (Zheng et al. 2023; Wang et al. 2023), so every pair is asked twice, the answers exchanged; a row
counts only where both verdicts can be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feinschliff.errors import InputError
from feinschliff.results import judge_prompts
from feinschliff.results.check_files import Written
from feinschliff.results.intervals import paired_difference_of_proportions
from feinschliff.results.judge_prompts import NO_REFERENCE, RUBRIC, filled
from feinschliff.results.judged import PREFERENCE, SCORE, JudgedPairs, JudgedScores, Usage
from feinschliff.results.measures import Measure
from feinschliff.results.resampling import FloatArray, MeanOfUnits, measure_figures
from feinschliff.results.verdicts import Evidence, compare

Judge = Callable[[Sequence[str]], Sequence[str]]
"""Prompts to replies, in their order; whoever makes it asks for little randomness (temperature 0)."""

LOWEST, HIGHEST = 1, 10
SLICE_PROMPTS = 64
"""Asked at once: a judge that does not keep to the form is given up before all is paid for."""
CUT_OFF = "\n(cut off here)"
"""What whoever asks the judge puts behind a reply that became too long: whatever stands before it is no verdict."""
MORE_TOKENS = "evaluation.judge_max_tokens allows it longer replies"
_REASONING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_UNENDED = re.compile(r"\s*(?:<think(?:ing)?>|\[THINK\])")
_END = re.compile(r"</think(?:ing)?>|\[/THINK\]")
"""Templates may write the begin of the thoughts into the prompt, so that the reply holds their end alone."""
_VERDICT = re.compile(r"\W*verdict\s*:\W*(a|b|tie)\W*", re.IGNORECASE)
_SCORE = re.compile(r"\W*score\s*:\W*(\d{1,2})(?:\s*/\s*10)?\W*", re.IGNORECASE)
_FIRST = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens, in any currency."""

    prompt: float
    completion: float


@dataclass(frozen=True, slots=True, eq=False)
class PairVerdicts:
    """Of each row, 1 where ours is better, 0 where theirs is, between where it is a tie; nan where it is not known."""

    outcome: FloatArray
    """[N]: the mean of both orders."""
    found: JudgedPairs

    def evidence(self, baseline: str) -> Evidence:
        """For a verdict: how many rows ours wins against how many it loses."""
        known = self.outcome[~np.isnan(self.outcome)]
        won, lost = (MeanOfUnits(side.astype(np.float64)) for side in (known > 0.5, known < 0.5))
        return compare(PREFERENCE, baseline, won, lost, self.found.confidence)


@dataclass(frozen=True, slots=True)
class Judging:
    """How is judged."""

    judge: Judge
    template: str | None = None
    """See :mod:`judge_prompts`; None: the one that stands there."""
    rubric: str | None = None
    """What a better answer is, put in the place of ``{rubric}``; None: :data:`judge_prompts.RUBRIC`."""
    max_unparsable_fraction: float = 0.1
    """More replies without a verdict than this, and there is no result."""
    tokens_used: Callable[[], tuple[int, int]] | None = None
    """Prompt and completion tokens that the judge has used so far, as it counts them."""
    prices: Prices | None = None
    samples: int = 2000
    confidence: float = 0.95
    seed: int = 0


def judge_pairs(judging: Judging, ours: Sequence[Written], theirs: Sequence[str]) -> PairVerdicts:
    """Which answers are better; each pair is asked in both orders.

    Args:
        ours: rows with our answers.
        theirs: the other candidate's answers to the same rows.

    Raises:
        InputError: too many replies hold no verdict, or the judge gives another number of replies than of prompts.
        ValueError: no rows, or different numbers of them.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} and {len(theirs)} answers must match, not empty")
    template = judging.template or judge_prompts.PAIRS
    prompts = []
    for row, other in zip(ours, theirs, strict=True):
        for first, second in ((row.answer, other), (other, row.answer)):
            prompts.append(filled(template, {**_asked(row, judging), "answer_a": first, "answer_b": second}))
    read = _replies(judging, prompts, read_verdict)
    first_better_N2 = read.values.reshape(-1, 2)
    if np.isnan(first_better_N2).any(axis=1).all():
        raise _refused(judging, read.missing, len(prompts), read.cut_off)
    ours_better_N2 = np.stack([first_better_N2[:, 0], 1.0 - first_better_N2[:, 1]], axis=1)
    return PairVerdicts(ours_better_N2.mean(axis=1), _pairs(judging, read, ours_better_N2))


def judge_scores(judging: Judging, rows: Sequence[Written]) -> tuple[FloatArray, JudgedScores]:
    """How good answers are: [N] points from 0 to 1 (nan where the reply holds none), and their mean.

    Raises:
        InputError: too many replies hold no score, or the judge gives another number of replies than of prompts.
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("no answers to judge")
    template = judging.template or judge_prompts.SINGLE
    prompts = [filled(template, {**_asked(row, judging), "answer": row.answer}) for row in rows]
    read = _replies(judging, prompts, read_score)
    points = read.values
    known = points[~np.isnan(points)]
    if not len(known):
        raise _refused(judging, len(points), len(prompts), read.cut_off)
    return points, JudgedScores(
        rows=len(known),
        unparsable_replies=read.missing,
        cut_off_replies=read.cut_off,
        score=_measure(SCORE, known, judging),
        confidence=judging.confidence,
        usage=read.usage,
    )


def read_verdict(reply: str) -> float | None:
    """1 for the first answer, 0 for the second, 0.5 for a tie; None where the last line is no verdict, or is one of
    several that contradict each other."""
    lines = _lines(reply)
    said = [match[1].lower() for line in lines if (match := _VERDICT.fullmatch(line))]
    if not said or len(set(said)) > 1 or not _VERDICT.fullmatch(lines[-1]):
        return None
    return _FIRST[said[0]]


def read_score(reply: str) -> float | None:
    """0 for 1 point to 1 for 10; None where the last line is no score from 1 to 10, or scores contradict each other."""
    lines = _lines(reply)
    said = {int(match[1]) for line in lines if (match := _SCORE.fullmatch(line))}
    if len(said) != 1 or not _SCORE.fullmatch(lines[-1]):
        return None
    points = said.pop()
    return (points - LOWEST) / (HIGHEST - LOWEST) if LOWEST <= points <= HIGHEST else None


def _lines(reply: str) -> list[str]:
    """Lines with something in them, without what a reasoning model thought aloud; none where it did not come to an
    end."""
    spoken = "" if is_cut_off(reply) else _END.split(_REASONING.sub("", reply))[-1]
    return [line.strip() for line in spoken.splitlines() if line.strip()]


def is_cut_off(reply: str) -> bool:
    """Whether a reply ends before its verdict, because it became too long, or among thoughts."""
    return reply.endswith(CUT_OFF) or (_UNENDED.match(reply) is not None and _END.search(reply) is None)


def _asked(row: Written, judging: Judging) -> dict[str, str]:
    reference = row.references[0] if row.references else NO_REFERENCE
    return {"prompt": row.prompt, "reference": reference, "rubric": judging.rubric or RUBRIC}


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What was read of replies."""

    values: FloatArray
    """Of each; nan where nothing could be read."""
    cut_off: int
    """Replies that ended before their verdict; there is nothing to be read in them."""
    usage: Usage

    @property
    def missing(self) -> int:
        return int(np.isnan(self.values).sum())


def _replies(judging: Judging, prompts: Sequence[str], read: Callable[[str], float | None]) -> _Read:
    allowed = judging.max_unparsable_fraction * len(prompts)
    before = judging.tokens_used() if judging.tokens_used else (0, 0)
    found: list[float] = []
    cut_off = 0
    for start in range(0, len(prompts), SLICE_PROMPTS):
        asked = prompts[start : start + SLICE_PROMPTS]
        replies = judging.judge(asked)
        if len(replies) != len(asked):
            raise InputError(f"the judge gave {len(replies)} replies to {len(asked)} prompts")
        values = [read(reply) for reply in replies]
        found += [np.nan if value is None else value for value in values]
        cut_off += sum(map(is_cut_off, replies))
        missing = int(np.isnan(found).sum())
        if missing > allowed:
            raise _refused(judging, missing, len(found), cut_off, replies[values.index(None)] if None in values else "")
    after = judging.tokens_used() if judging.tokens_used else before
    usage = _usage(judging, len(prompts), (after[0] - before[0], after[1] - before[1]))
    return _Read(np.array(found), cut_off, usage)


def _refused(judging: Judging, missing: int, asked: int, cut_off: int, example: str = "") -> InputError:
    shown = f". One of them ends: {example.strip()[-200:]!r}" if example.strip() else ""
    cut = f", {cut_off:,} of them because they were cut off" if cut_off else ""
    forms = "take a judge that keeps to the form, or change the template"
    return InputError(
        f"{missing:,} of {asked:,} replies of the judge hold no verdict that can be read{cut}",
        why=f"{judging.max_unparsable_fraction:.0%} of all are let pass, more would leave no fair sample{shown}",
        remedy=f"{MORE_TOKENS}, or take a judge that thinks less" if 2 * cut_off > missing else forms,
    )


def _usage(judging: Judging, prompts: int, tokens: tuple[int, int]) -> Usage:
    prices = judging.prices
    cost = (tokens[0] * prices.prompt + tokens[1] * prices.completion) / 1e6 if prices and any(tokens) else None
    return Usage(prompts=prompts, prompt_tokens=tokens[0], completion_tokens=tokens[1], cost=cost)


def _pairs(judging: Judging, read: _Read, ours_better_N2: FloatArray) -> JudgedPairs:
    readable = ~np.isnan(ours_better_N2).any(axis=1)
    known = ours_better_N2[readable]
    outcome = known.mean(axis=1)
    won: NDArray[np.bool_] = outcome > 0.5
    lost: NDArray[np.bool_] = outcome < 0.5
    points = np.where(won, 1.0, np.where(lost, 0.0, 0.5))
    return JudgedPairs(
        rows=len(known),
        wins=int(won.sum()),
        ties=len(known) - int(won.sum()) - int(lost.sum()),
        losses=int(lost.sum()),
        unparsable_rows=int((~readable).sum()),
        unparsable_replies=read.missing,
        cut_off_replies=read.cut_off,
        preference=_measure(PREFERENCE, points, judging),
        difference=paired_difference_of_proportions(won, lost, judging.confidence),
        confidence=judging.confidence,
        changed_with_order=int((known[:, 0] != known[:, 1]).sum()),
        first_place_preferred=float(np.nanmean(read.values)),
        usage=read.usage,
    )


def _measure(name: str, units: FloatArray, judging: Judging) -> Measure:
    figures = {name: MeanOfUnits(units)}
    return measure_figures(figures, judging.samples, judging.confidence, judging.seed, len(units))[name]
