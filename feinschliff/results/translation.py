"""Corpus scores of written text against references: BLEU, chrF and ROUGE, with their intervals. Knows no model.

N segments are the independent units; each has one reference or several. All scores are fractions: 0.324 is BLEU 32.4.

BLEU's n-gram counts come from sacrebleu, through the public ``sentence_score``, so tokenisation is that of every
published figure. chrF's counts are not public there and ROUGE's usual package brings nltk along; both are short and
counted here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from feinschliff.results.measures import Measure
from feinschliff.results.resampling import Figure, FloatArray, FunctionOfSums, MeanOfUnits, divided, measure_figures

References = Sequence[Sequence[str]]
"""Of each segment its references, at least one."""

TRANSLATION_METRICS = ("bleu", "chrf")
SUMMARY_METRICS = ("rouge_1", "rouge_2", "rouge_l")
_BLEU_ORDER = 4
_CHRF_ORDER = 6
_CHRF_BETA_SQUARED = 4.0
_WORD = re.compile(r"[^\W_]+")


def translation_metrics(
    references: References,
    predictions: Sequence[str],
    tokenize: str = "13a",
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Measure]:
    """``bleu`` and ``chrf`` with percentile bootstrap intervals over segments (Koehn 2004).

    BLEU: Papineni et al. (2002) with sacrebleu's defaults (mixed case, exponential smoothing). chrF: Popovic (2015),
    chrF2 over character 1- to 6-grams without blanks; of several references the best of each segment counts.

    Args:
        tokenize: of BLEU, a name sacrebleu knows: ``13a`` (default), ``zh``, ``char``, ``intl``, ``none`` ...

    Raises:
        ValueError: no segments, different numbers of them, or a segment without reference.
    """
    figures = translation_figures(references, predictions, tokenize)
    return measure_figures(figures, samples, confidence, seed, border_units=len(predictions))


def translation_figures(references: References, predictions: Sequence[str], tokenize: str = "13a") -> dict[str, Figure]:
    """``bleu`` and ``chrf`` as functions of how often each segment counts."""
    _check(references, predictions)
    return {
        "bleu": FunctionOfSums(_bleu_counts(references, predictions, tokenize), _bleu),
        "chrf": FunctionOfSums(_chrf_counts(references, predictions), _chrf),
    }


def summary_metrics(
    references: References,
    predictions: Sequence[str],
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Measure]:
    """``rouge_1``, ``rouge_2`` and ``rouge_l``: means of F1 over segments, percentile bootstrap intervals.

    Lin (2004), of several references the best. Words are runs of letters and digits in lower case, not stemmed: for
    ASCII text what the package rouge-score gives by default, which, though, takes other letters for blanks. Languages
    written without blanks have no such words; chrF fits them.

    Raises:
        ValueError: no segments, different numbers of them, or a segment without reference.
    """
    figures = summary_figures(references, predictions)
    return measure_figures(figures, samples, confidence, seed, border_units=len(predictions))


def summary_figures(references: References, predictions: Sequence[str]) -> dict[str, Figure]:
    """``rouge_1``, ``rouge_2`` and ``rouge_l`` as functions of how often each segment counts."""
    _check(references, predictions)
    scores = []
    for golds, prediction in zip(references, predictions, strict=True):
        given = _words(prediction)
        scores.append(np.max([_rouge(_words(gold), given) for gold in golds], axis=0))
    return {name: MeanOfUnits(column) for name, column in zip(SUMMARY_METRICS, np.array(scores).T, strict=True)}


def _bleu_counts(references: References, predictions: Sequence[str], tokenize: str) -> FloatArray:
    """``[N, 10]``: matching 1- to 4-grams, 1- to 4-grams, words, words of the reference closest in length."""
    from sacrebleu.metrics.bleu import BLEU

    # effective_order changes the score of a single segment, which is not used, and no count.
    bleu = BLEU(tokenize=tokenize, effective_order=True)
    found = [bleu.sentence_score(p, list(golds)) for golds, p in zip(references, predictions, strict=True)]
    return np.array([[*f.counts, *f.totals, f.sys_len, f.ref_len] for f in found], dtype=np.float64)


def _bleu(sums: FloatArray) -> FloatArray:
    """``[S]``: geometric mean of n-gram precisions times the brevity penalty.

    Orders without a match get half, a quarter ... of one match (Chen and Cherry 2014, method 3); 0 without any match.
    """
    matches, totals = sums[:, :_BLEU_ORDER], sums[:, _BLEU_ORDER : 2 * _BLEU_ORDER]
    given, wanted = sums[:, -2], sums[:, -1]
    none = matches == 0
    smoothed = np.where(none, 0.5 ** np.cumsum(none, axis=1), matches)
    scored = np.logical_and((totals > 0).all(axis=1), (matches > 0).any(axis=1))
    precisions = divided(smoothed, totals)
    precisions[~scored] = 1.0
    brevity = np.exp(np.minimum(0.0, 1.0 - divided(wanted, given)))
    return np.where(scored, brevity * np.exp(np.log(precisions).mean(axis=1)), 0.0)


def _chrf_counts(references: References, predictions: Sequence[str]) -> FloatArray:
    """``[N, 18]``: matches, n-grams of the prediction, n-grams of the reference, each by order."""
    counts = np.zeros((len(predictions), 3 * _CHRF_ORDER))
    for segment, (golds, prediction) in enumerate(zip(references, predictions, strict=True)):
        given = _character_ngrams(prediction)
        candidates = np.array([_chrf_of_reference(_character_ngrams(gold), given) for gold in golds])
        counts[segment] = candidates[np.argmax(_chrf(candidates))]
    return counts


def _chrf_of_reference(gold: list[Counter[str]], given: list[Counter[str]]) -> list[float]:
    matches = [float((one & other).total()) for one, other in zip(gold, given, strict=True)]
    # A reference too short for an order makes no precision of it: the prediction's n-grams do not count either.
    in_given = [float(other.total()) if one else 0.0 for one, other in zip(gold, given, strict=True)]
    return [*matches, *in_given, *(float(one.total()) for one in gold)]


def _chrf(sums: FloatArray) -> FloatArray:
    """``[S]``: F2 of precision and recall, each a mean over the orders that both sides have."""
    matches, given, wanted = np.split(sums, 3, axis=1)
    used = (given > 0) & (wanted > 0)
    precision, recall = (
        divided((divided(matches, below) * used).sum(axis=1), used.sum(axis=1)) for below in (given, wanted)
    )
    return divided((1 + _CHRF_BETA_SQUARED) * precision * recall, _CHRF_BETA_SQUARED * precision + recall)


def _character_ngrams(text: str) -> list[Counter[str]]:
    bare = "".join(text.split())
    return [Counter(bare[i : i + n] for i in range(len(bare) - n + 1)) for n in range(1, _CHRF_ORDER + 1)]


def _rouge(gold: list[str], given: list[str]) -> tuple[float, float, float]:
    """F1 of words, of pairs of words, and of the longest common subsequence."""
    one, two = (
        _f1((Counter(a) & Counter(b)).total(), len(a), len(b))
        for a, b in ((gold, given), (list(pairwise(gold)), list(pairwise(given))))
    )
    return one, two, _f1(_common_subsequence(gold, given), len(gold), len(given))


def _f1(same: int, one: int, other: int) -> float:
    return 2.0 * same / (one + other) if same else 0.0


def _common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence; a row of the table is one integer (Hyyro 2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    everywhere = (1 << len(one)) - 1
    row = everywhere
    for word in other:
        met = row & places.get(word, 0)
        row = (row + met | row - met) & everywhere
    return len(one) - row.bit_count()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _check(references: References, predictions: Sequence[str]) -> None:
    if len(references) != len(predictions) or not predictions:
        raise ValueError(f"{len(references)} references and {len(predictions)} predictions must match, not empty")
    if not all(references):
        raise ValueError("every segment needs at least one reference")
