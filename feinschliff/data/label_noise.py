"""Labels that are probably wrong, judged by the other rows. Sees embeddings and labels; knows no model and no file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Suspect(NamedTuple):
    """A row whose label the others do not support."""

    row: int
    given: str
    suggested: str
    confidence: float
    """Probability of the suggested label, from a model that has not seen the row."""


def suspected(
    embeddings: NDArray[np.float32], labels: Sequence[str], label_names: Sequence[str], folds: int = 5, seed: int = 0
) -> list[Suspect]:
    """Confident learning (Northcutt et al. 2021) on cross-validated logistic regression.

    A class's threshold is the mean probability that its own rows get for it. A row is a suspect when another class
    reaches its threshold there, is the likeliest of those that do, and likelier than the given one.

    Args:
        embeddings: [rows, width] of the frozen model.
        labels: [rows] one label each.
        label_names: all classes.
        folds: of the cross-validation.

    Returns:
        suspects, the surest first.
    """
    given = np.array([list(label_names).index(label) for label in labels])
    if len(np.unique(given)) < 2:
        return []
    probabilities = held_out_probabilities(embeddings, given, len(label_names), folds, seed)
    own = probabilities[np.arange(len(given)), given]
    counts = np.bincount(given, minlength=len(label_names))
    sums = np.bincount(given, weights=own, minlength=len(label_names))
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = reached.argmax(axis=1)
    likelier = reached[np.arange(len(given)), best] > own
    rows = np.flatnonzero((best != given) & likelier)
    margin = probabilities[rows, best[rows]] - own[rows]
    return [
        Suspect(row, label_names[given[row]], label_names[best[row]], float(probabilities[row, best[row]]))
        for row in rows[np.argsort(-margin, kind="stable")].tolist()
    ]


def held_out_probabilities(
    embeddings: NDArray[np.float32], given: NDArray[np.int64], num_classes: int, folds: int, seed: int
) -> Floats:
    """[rows, classes] each row by a model fitted on the other folds; 0 for classes that those lack."""
    from sklearn.linear_model import LogisticRegression  # a second to import; most checks do without

    scale = np.linalg.norm(embeddings, axis=1, keepdims=True)
    features = embeddings / np.maximum(scale, 1e-12)
    fold_of = _stratified_folds(given, folds, seed)
    probabilities = np.zeros((len(given), num_classes))
    for fold in range(folds):
        inside = fold_of == fold
        seen = np.unique(given[~inside])
        if not inside.any() or len(seen) < 2:
            continue
        model = LogisticRegression(C=10.0, max_iter=300).fit(features[~inside], given[~inside])
        probabilities[np.ix_(inside, seen)] = model.predict_proba(features[inside])
    return probabilities


def _stratified_folds(given: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """[rows] fold numbers; the rows of each class are dealt out in turn."""
    order = np.random.default_rng(seed).permutation(len(given))
    by_class = order[np.argsort(given[order], kind="stable")]
    fold_of = np.empty(len(given), dtype=np.int64)
    fold_of[by_class] = np.arange(len(given)) % folds
    return fold_of
