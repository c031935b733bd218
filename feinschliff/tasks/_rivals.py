"""What a tuned model has to beat, fitted on frozen features: the majority class and a linear probe.

The probe is logistic regression on normalised features of the frozen encoder, its regularisation chosen by
cross-validation on the training rows: the strongest cheap rival. For numbers: the mean, and ridge regression.
Knows no verdict.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feinschliff.data.examples import Example
from feinschliff.engine.batching import FORWARD_TOKENS, by_length
from feinschliff.engine.devices import device_of, on
from feinschliff.tasks._task import Frozen

Floats = npt.NDArray[np.float32]
PROBE_C = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Inverse regularisation strengths tried."""
CERTAIN = 5.0
"""Logit of a class without any rows, against the others, and of a label without a choice."""
FOLDS = 3
RIDGE_PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""Penalties tried, for features of length one."""
SELECTION_ROWS = 4000
"""Rows on which C is chosen; the final fit takes all."""


@dataclass(slots=True)
class Baseline:
    """A fitted baseline."""

    name: str
    model: Any
    num_classes: int
    note: str = ""

    def probabilities(self, features: Floats) -> Floats:
        """[N, C] for features [N, d]."""
        if isinstance(self.model, np.ndarray):
            return np.broadcast_to(self.model, (len(features), self.num_classes)).astype(np.float32)
        if isinstance(self.model, list):
            return np.stack([_positive(part, features) for part in self.model], axis=1).astype(np.float32)
        out = np.zeros((len(features), self.num_classes), dtype=np.float32)
        out[:, self.model.classes_] = self.model.predict_proba(features)
        return out


def _positive(part: Any, features: Floats) -> Any:
    """Probability of one label of several; a label that no or every training row has is a constant."""
    return np.full(len(features), part) if isinstance(part, float) else part.predict_proba(features)[:, 1]


def frozen_features(
    task: Any,
    network: Any,
    examples: Sequence[Example],
    max_length_tokens: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Floats:
    """Normalised pooled features [N, d] of the frozen network.

    For pairs, each text is encoded by itself and the pair is ``[u, v, |u - v|, u * v]`` (Conneau et al. 2017): an
    encoder that was not trained on pairs says more this way than on the joined text.
    """
    if task.context.num_texts == 1:
        return _encoded(task, network, examples, max_length_tokens, on_rows)
    sides = []
    for side in range(2):
        single = [Example((example.texts[side],), (), example.place) for example in examples]
        sides.append(_encoded(task.for_single_texts(), network, single, max_length_tokens, on_rows))
    u, v = sides
    return np.concatenate([u, v, np.abs(u - v), u * v], axis=1)


def _encoded(
    task: Any, network: Any, examples: Sequence[Example], max_length_tokens: int, on_rows: Callable[[int], None]
) -> Floats:
    import torch

    table = task.encode([example.without_target() for example in examples], max_length_tokens).table
    out = np.empty((len(table), network.body.hidden_width), dtype=np.float32)
    network.eval()
    with torch.inference_mode():
        for rows in by_length(table.lengths, FORWARD_TOKENS):
            batch = table.collate(rows)
            features = network.features(on(batch, device_of(network)))
            out[batch.rows.numpy()] = features.float().cpu().numpy()
            on_rows(len(rows))
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
    return out


def majority(targets: npt.NDArray[np.int64], num_classes: int) -> Baseline:
    """Class shares of the training rows for every row: the decision is the most frequent class."""
    shares = targets.mean(0) if targets.ndim == 2 else np.bincount(targets, minlength=num_classes) / len(targets)
    return Baseline("majority class", shares.astype(np.float32), num_classes)


def probe(features: Floats, targets: npt.NDArray[np.int64], num_classes: int, seed: int) -> Baseline:
    """Logistic regression with C chosen by cross-validation; one against the rest for several labels."""
    if targets.ndim == 2:
        parts = [_fit_label(features, targets[:, label]) for label in range(num_classes)]
        return Baseline("linear probe", parts, num_classes, "C = 10, one regression a label")
    chosen, scores = _choose_c(features, targets, seed)
    note = f"C = {chosen:g}, chosen by {FOLDS}-fold cross-validation ({scores})"
    return Baseline("linear probe", _fit(features, targets, chosen), num_classes, note)


def probe_weights(features: Floats, targets: npt.NDArray[Any], num_classes: int) -> tuple[Floats, Floats]:
    """Weights [C, d] and biases [C] of logistic regressions with C = 10 on normalised features [N, d].

    Args:
        targets: class numbers [N], or indicators [N, C]. A class that no row has, or a label that all or none have,
            gets no weights and a bias of ``+-CERTAIN``.
    """
    weights = np.zeros((num_classes, features.shape[1]), dtype=np.float32)
    if targets.ndim == 2:
        biases = np.where(targets.mean(0) > 0.5, CERTAIN, -CERTAIN).astype(np.float32)
        for label in np.flatnonzero(targets.min(0) < targets.max(0)):
            model = _fit(features, targets[:, label].astype(np.int64), 10.0)
            weights[label], biases[label] = model.coef_[0], model.intercept_[0]
        return weights, biases
    biases = np.full(num_classes, -CERTAIN, dtype=np.float32)
    model = _fit(features, targets, 10.0)
    signs = np.array([[-0.5], [0.5]]) if len(model.classes_) == 2 else 1.0
    weights[model.classes_] = signs * model.coef_
    biases[model.classes_] = np.ravel(signs * model.intercept_[:, None])
    return weights, biases


def _fit(features: Floats, targets: npt.NDArray[np.int64], c: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(C=c, max_iter=300, tol=1e-4)
    # One thread: these products are small, and threads that wait for each other on a busy machine cost minutes.
    with warnings.catch_warnings(), threadpool_limits(1):
        # A probe a little short of its optimum decides the same; the tolerance says how short.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, targets)


def _fit_label(features: Floats, target: npt.NDArray[np.int64]) -> Any:
    if target.min() == target.max():
        return float(target[0])
    return _fit(features, target, 10.0)


def _choose_c(features: Floats, targets: npt.NDArray[np.int64], seed: int) -> tuple[float, str]:
    from sklearn.model_selection import StratifiedKFold

    rng = np.random.default_rng([seed, 0xC])
    rows = rng.permutation(len(targets))[:SELECTION_ROWS]
    x, y = features[rows], targets[rows]
    kept = np.isin(y, np.flatnonzero(np.bincount(y) >= FOLDS))
    if kept.sum() < 2 * FOLDS or len(np.unique(y[kept])) < 2:
        return 10.0, "too few rows to compare"
    x, y = x[kept], y[kept]
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32).split(x, y))
    accuracy = {
        c: float(np.mean([np.mean(_fit(x[a], y[a], c).predict(x[b]) == y[b]) for a, b in folds])) for c in PROBE_C
    }
    best = max(accuracy, key=lambda c: (accuracy[c], -c))
    return best, ", ".join(f"{c:g}: {value:.1%}" for c, value in accuracy.items())


class MeanValue:
    """The mean of the training rows for every row."""

    name, note = "mean", ""

    def __init__(self, references: npt.NDArray[np.float64]) -> None:
        self._means = np.nanmean(references, 0)

    def answers(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """[N, K]."""
        return np.tile(self._means, (len(examples), 1))


class Cosine:
    """The cosine of a pair's frozen features, put on the scale of each target by a straight line."""

    name, note = "frozen cosine", "cosine of the frozen features, by a straight line"

    def __init__(self, frozen: Frozen, examples: Sequence[Example], references: npt.NDArray[np.float64]) -> None:
        self._frozen = frozen
        cosine = self._cosine(examples)
        self._lines = [np.polyfit(cosine[~np.isnan(y)], y[~np.isnan(y)], 1) for y in references.T]

    def _cosine(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """``u * v`` is the last quarter of a pair's features; u and v have length one."""
        features = self._frozen.features(examples)
        found: npt.NDArray[np.float64] = features[:, -features.shape[1] // 4 :].sum(1).astype(np.float64)
        return found

    def answers(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """[N, K]."""
        cosine = self._cosine(examples)
        return np.stack([np.polyval(line, cosine) for line in self._lines], axis=1)


class Ridge:
    """Ridge regressions on frozen features, one a target."""

    name = "linear probe"

    def __init__(self, frozen: Frozen, models: Sequence[Any], note: str) -> None:
        self._frozen, self._models, self.note = frozen, models, note

    def answers(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """[N, K]."""
        features = self._frozen.features(examples)
        return np.stack([model.predict(features) for model in self._models], axis=1).astype(np.float64)


def ridge(frozen: Frozen, examples: Sequence[Example], references: npt.NDArray[np.float64], seed: int) -> Ridge:
    """Fit one regression a target, its penalty chosen by leave-one-out error on the training rows."""
    from sklearn.linear_model import RidgeCV
    from threadpoolctl import threadpool_limits

    features, models = frozen.features(examples), []
    with threadpool_limits(1):
        for values in references.T:
            known = ~np.isnan(values)
            models.append(RidgeCV(alphas=RIDGE_PENALTIES).fit(features[known], values[known]))
    chosen = ", ".join(f"{model.alpha_:g}" for model in models)
    return Ridge(frozen, models, f"ridge penalty {chosen}, chosen by leave-one-out error")
