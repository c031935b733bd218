"""Figures of written texts over rows: equal to a reference, right by a check, and how likely the references were.

N rows are the independent units. Likelihoods come as sums a row (of the negative log-likelihoods of its tokens, in
nats), so that long rows weigh as much as they have tokens. Knows no model, no tokenizer and no configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feinschliff.results.answers import normalize_answer
from feinschliff.results.check_files import Written
from feinschliff.results.checkers import Check, check_scores
from feinschliff.results.formats import LESS_IS_BETTER, LIKELIHOOD_METRICS
from feinschliff.results.measures import Measure
from feinschliff.results.resampling import Figure, FloatArray, FunctionOfSums, MeanOfUnits, divided, measure_figures

MATCH_METRICS = ("exact_match", "strict_match")
_LARGEST_EXPONENT = 700.0
"""exp of it is still a number."""


def match_figures(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, Figure]:
    """``exact_match`` after SQuAD's normalisation, ``strict_match`` of every character; any reference counts.

    Normalisation takes away case, ASCII punctuation and the words a, an, the (Rajpurkar et al. 2016). A reference of
    which it leaves nothing (``A``, ``+``) is compared as it stands but for case. Blanks around a text never count.

    Raises:
        ValueError: no rows, different numbers of them, or a row without reference.
    """
    _check(references, predictions)
    rows = list(zip(references, predictions, strict=True))
    exact = [any(_same_normalised(gold, given) for gold in golds) for golds, given in rows]
    strict = [any(gold.strip() == given.strip() for gold in golds) for golds, given in rows]
    return {
        name: MeanOfUnits(np.array(units, dtype=np.float64))
        for name, units in zip(MATCH_METRICS, (exact, strict), strict=True)
    }


def check_figures(checks: Sequence[Check], rows: Sequence[Written]) -> dict[str, Figure]:
    """The mean over rows of each check, by its name.

    Raises:
        DataError: rows without a reference where a check compares with it.
        ConfigError: a person's function failed, or gave no number from 0 to 1.
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("no rows to check")
    return {check.name: MeanOfUnits(np.array(check_scores(check, rows), dtype=np.float64)) for check in checks}


def likelihood_figures(
    loss_sums: NDArray[Any], num_tokens: NDArray[Any], num_right: NDArray[Any] | None = None
) -> dict[str, Figure]:
    """``loss`` (mean over tokens, nats), ``perplexity`` (its exponential) and, where known, ``token_accuracy``.

    Losses of models compare only where both cut the texts into the same tokens.

    Args:
        loss_sums: ``[N]``, summed negative log-likelihood of the row's tokens that carry loss.
        num_tokens: ``[N]``, how many those are; a row may have none, but not all rows.
        num_right: ``[N]``, of how many the right token was the likeliest.

    Raises:
        ValueError: no rows or no tokens, shapes that differ, or numbers that cannot be.
    """
    columns = [np.asarray(a, dtype=np.float64) for a in (loss_sums, num_tokens, num_right) if a is not None]
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
        raise ValueError(f"sums must be [N] each, got {[column.shape for column in columns]}")
    if not all(np.isfinite(column).all() and (column >= 0).all() for column in columns):
        raise ValueError("sums of losses and numbers of tokens must be finite and not negative")
    if not columns[1].sum():
        raise ValueError("no token carries loss")
    if num_right is not None and (columns[2] > columns[1]).any():
        raise ValueError("more right tokens than tokens")
    sums = np.stack(columns, axis=1)
    values = (_loss, _perplexity, _token_accuracy)[: len(columns) if num_right is not None else 2]
    return {name: FunctionOfSums(sums, value) for name, value in zip(LIKELIHOOD_METRICS, values, strict=False)}


def measure_written(
    figures: Mapping[str, Figure], samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Measure]:
    """Each figure with its interval over rows: Wilson's of shares, else percentile bootstrap.

    Where every row is right (or none) shares do not claim certainty; losses have no such border.

    Raises:
        ValueError: no rows, or figures of different numbers of them.
    """
    found: dict[str, Measure] = {}
    for less in (False, True):
        chosen = {name: figure for name, figure in figures.items() if (name in LESS_IS_BETTER) == less}
        if chosen:
            rows = None if less else next(iter(chosen.values())).num_units
            found |= measure_figures(chosen, samples, confidence, seed, border_units=rows)
    return {name: found[name] for name in figures}


def _loss(sums: FloatArray) -> FloatArray:
    return np.where(sums[:, 1] > 0, divided(sums[:, 0], sums[:, 1]), np.nan)


def _perplexity(sums: FloatArray) -> FloatArray:
    return np.exp(np.minimum(_loss(sums), _LARGEST_EXPONENT))


def _token_accuracy(sums: FloatArray) -> FloatArray:
    return np.where(sums[:, 1] > 0, divided(sums[:, 2], sums[:, 1]), np.nan)


def _same_normalised(gold: str, given: str) -> bool:
    wanted = normalize_answer(gold)
    return wanted == normalize_answer(given) if wanted else gold.strip().casefold() == given.strip().casefold()


def _check(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> None:
    if len(references) != len(predictions) or not predictions:
        raise ValueError(f"{len(references)} references and {len(predictions)} predictions must match, not empty")
    if not all(references):
        raise ValueError("every row needs at least one reference")
