"""Metrics of extracted answers as SQuAD defines them, with their intervals. Knows no context, no span and no model.

Rajpurkar et al. (2016) for answers, Rajpurkar et al. (2018) for questions without one. A question has several gold
answers, none at all where the text does not answer it; the empty prediction says that it does not. N questions are
the independent units.

Scores are those of the official script for SQuAD 2; that of SQuAD 1 differs only where normalisation leaves nothing of
an answer.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from feinschliff.results.measures import Measure
from feinschliff.results.resampling import Figure, FloatArray, MeanOfUnits, measure_figures

ANSWER_METRICS = ("exact_match", "answer_f1")
DECIDING_METRICS = ("answer_f1", "exact_match")
_END_OF_REASONING = re.compile(r"</think>|\[/THINK\]")
_BEGINS_OF_REASONING = ("<think>", "[THINK]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, then without the words a, an, the, and blanks run together."""
    bare = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def without_reasoning(text: str) -> str:
    """What stands behind the last mark that ends a model's reasoning; nothing where it began and did not end, and all
    of it where there is none."""
    *reasoning, answer = _END_OF_REASONING.split(text)
    return "" if not reasoning and answer.lstrip().startswith(_BEGINS_OF_REASONING) else answer.strip()


def exact_match(gold_answers: Sequence[str], prediction: str) -> float:
    """1 where the prediction equals one of the gold answers after normalisation; no answer equals no answer."""
    given = normalize_answer(prediction)
    return float(any(given == gold for gold in _golds(gold_answers)))


def answer_f1(gold_answers: Sequence[str], prediction: str) -> float:
    """The best F1 of normalised words, as bags, over the gold answers; where either side is no answer, 1 or 0."""
    given = normalize_answer(prediction).split()
    return max(_word_f1(gold.split(), given) for gold in _golds(gold_answers))


def answer_metrics(
    gold_answers: Sequence[Sequence[str]],
    predictions: Sequence[str],
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Measure]:
    """``exact_match`` (Wilson) and ``answer_f1`` (percentile bootstrap) with intervals over questions.

    Where there are questions with and without an answer, also ``exact_match_has_answer``, ``answer_f1_has_answer`` and
    ``no_answer_accuracy``, each over its kind of questions.

    Args:
        gold_answers: of each of N questions all gold answers; none, or only such as nothing is left of after
            normalisation, where there is no answer.
        predictions: ``N`` texts, empty for no answer.

    Raises:
        ValueError: no questions, or different numbers of them.
    """
    metrics = _measured(answer_figures(gold_answers, predictions), samples, confidence, seed)
    answerable = has_answer(gold_answers)
    if answerable.all() or not answerable.any():
        return metrics
    with_answer, without = (
        _measured(
            answer_figures([gold_answers[i] for i in rows], [predictions[i] for i in rows]), samples, confidence, seed
        )
        for rows in (np.flatnonzero(answerable).tolist(), np.flatnonzero(~answerable).tolist())
    )
    return {
        **metrics,
        **{f"{name}_has_answer": measure for name, measure in with_answer.items()},
        "no_answer_accuracy": without["exact_match"],
    }


def answer_figures(gold_answers: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, Figure]:
    """``exact_match`` and ``answer_f1`` as functions of how often each question counts."""
    if len(gold_answers) != len(predictions) or not predictions:
        raise ValueError(f"{len(gold_answers)} questions and {len(predictions)} predictions must match, not empty")
    return {
        name: MeanOfUnits(np.array([score(g, p) for g, p in zip(gold_answers, predictions, strict=True)]))
        for name, score in _SCORES.items()
    }


def has_answer(gold_answers: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """``[N]``: whether the question has an answer."""
    return np.array([any(_golds(golds)) for golds in gold_answers], dtype=bool)


def best_no_answer_threshold(
    scores: FloatArray, no_answer_scores: FloatArray, answerable: NDArray[np.bool_]
) -> tuple[float, float]:
    """The threshold that gives the best mean score: a question whose no-answer score is above it gets no answer.

    To be chosen on validation rows. Questions with the same no-answer score fall on the same side; of equally good
    thresholds the lowest is taken; just below the lowest score it means that no question gets an answer.

    Args:
        scores: ``[N]``, exact match or F1 of the best non-empty answer; what stands for questions without an answer
            does not count.
        no_answer_scores: ``[N]``, higher where the model rather believes that there is no answer.
        answerable: ``[N]``, see :func:`has_answer`.

    Returns:
        The threshold, and the mean score with it.
    """
    order = np.argsort(no_answer_scores, kind="stable")
    levels = no_answer_scores[order]
    gained = np.where(answerable, scores, -1.0)[order]
    totals = np.concatenate([[0.0], np.cumsum(gained)]) + np.sum(~answerable)
    last_of_level = np.concatenate([[True], np.append(np.diff(levels) > 0, True)])
    best = int(np.argmax(np.where(last_of_level, totals, -np.inf)))
    threshold = levels[best - 1] if best else np.nextafter(levels[0], -np.inf)
    return float(threshold), float(totals[best] / len(scores))


def _measured(figures: dict[str, Figure], samples: int, confidence: float, seed: int) -> dict[str, Measure]:
    questions = next(iter(figures.values())).num_units
    return measure_figures(figures, samples, confidence, seed, border_units=questions)


def _golds(answers: Sequence[str]) -> list[str]:
    """Normalised; the empty answer where there is none."""
    return [gold for answer in answers if (gold := normalize_answer(answer))] or [""]


def _word_f1(gold: Sequence[str], given: Sequence[str]) -> float:
    if not gold or not given:
        return float(list(gold) == list(given))
    same = sum((Counter(gold) & Counter(given)).values())
    return 2.0 * same / (len(gold) + len(given))


_SCORES: dict[str, Callable[[Sequence[str], str], float]] = {"exact_match": exact_match, "answer_f1": answer_f1}
