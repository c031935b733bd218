"""What a tuned model has to beat: class shares, and logistic regression as scikit-learn fits it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from feinschliff.tasks._rivals import CERTAIN, PROBE_C, majority, probe, probe_weights


def features_of(targets: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Unit vectors around a direction a class."""
    rng = np.random.default_rng(seed)
    points = np.eye(8)[targets] + rng.normal(0.0, noise, (len(targets), 8))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_the_majority_gives_every_row_the_shares_of_the_training_rows() -> None:
    fitted = majority(np.array([2, 0, 2, 2, 1]), 4)
    scores = fitted.probabilities(np.zeros((3, 5), np.float32))
    np.testing.assert_allclose(scores, [[0.2, 0.2, 0.6, 0.0]] * 3, rtol=1e-6)
    assert scores.argmax(1).tolist() == [2, 2, 2]


def test_the_majority_of_several_labels_is_a_share_a_label() -> None:
    fitted = majority(np.array([[1, 0], [1, 1], [0, 0], [1, 0]]), 2)
    np.testing.assert_allclose(fitted.probabilities(np.zeros((2, 5), np.float32)), [[0.75, 0.25]] * 2)


def test_the_probe_is_logistic_regression_at_a_strength_that_was_compared() -> None:
    targets = np.random.default_rng(0).integers(0, 3, 300)
    train, test = features_of(targets, 0.4, 1), features_of(targets, 0.4, 2)
    fitted = probe(train, targets, 3, seed=0)
    chosen = next(c for c in PROBE_C if fitted.note.startswith(f"C = {c:g},"))
    plain = LogisticRegression(C=chosen, max_iter=300, tol=1e-4).fit(train, targets)
    np.testing.assert_allclose(fitted.probabilities(test), plain.predict_proba(test), atol=1e-5)
    assert accuracy_score(targets, fitted.probabilities(test).argmax(1)) > 0.8
    assert all(f"{c:g}: " in fitted.note for c in PROBE_C)


def test_noisier_rows_get_more_regularisation() -> None:
    targets = np.random.default_rng(0).integers(0, 3, 400)
    assert probe(features_of(targets, 0.9, 1), targets, 3, 0).note.startswith("C = 1,")
    rng = np.random.default_rng(3)
    flipped = np.where(rng.random(400) < 0.3, rng.integers(0, 3, 400), targets)
    assert probe(features_of(targets, 0.05, 1), flipped, 3, 0).note.startswith("C = 1,")


@pytest.mark.parametrize("classes", [2, 3])
def test_the_weights_of_a_probe_decide_as_it_does(classes: int) -> None:
    targets = np.random.default_rng(0).integers(0, classes, 60)
    train, test = features_of(targets, 0.4, 1), features_of(targets, 0.4, 2)
    weights, biases = probe_weights(train, targets, classes + 1)
    plain = LogisticRegression(C=10.0, max_iter=300, tol=1e-4).fit(train, targets)
    logits = test @ weights.T + biases
    scores = np.exp(logits[:, :classes]) / np.exp(logits[:, :classes]).sum(1, keepdims=True)
    np.testing.assert_allclose(scores, plain.predict_proba(test), atol=1e-5)
    assert not weights[classes].any()
    assert biases[classes] == -CERTAIN


def test_each_of_several_labels_has_a_probe_of_its_own() -> None:
    targets = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(np.float32)
    targets[:, 1] = 1.0
    train = features_of(targets[:, 0].astype(int) + 2 * targets[:, 2].astype(int), 0.3, 1)
    weights, biases = probe_weights(train, targets, 3)
    plain = LogisticRegression(C=10.0, max_iter=300, tol=1e-4).fit(train, targets[:, 2])
    np.testing.assert_allclose(weights[2], plain.coef_[0], atol=1e-5)
    assert (weights[1].any(), biases[1]) == (False, CERTAIN)


def test_a_class_without_training_rows_gets_no_probability() -> None:
    targets = np.array([0, 2] * 20)
    scores = probe(features_of(targets, 0.1, 1), targets, 4, 0).probabilities(features_of(targets, 0.1, 2))
    assert scores.shape == (40, 4)
    assert scores[:, [1, 3]].max() == 0.0
    np.testing.assert_allclose(scores.sum(1), 1.0, rtol=1e-5)


def test_the_probe_of_several_labels_is_a_regression_a_label_and_constants_where_all_agree() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 200)
    targets = np.stack([first, np.ones_like(first), np.zeros_like(first)], axis=1)
    scores = probe(features_of(first, 0.2, 1), targets, 3, 0).probabilities(features_of(first, 0.2, 2))
    assert np.mean((scores[:, 0] > 0.5) == first) > 0.95
    assert scores[:, 1].tolist() == [1.0] * 200
    assert scores[:, 2].tolist() == [0.0] * 200


def test_too_few_rows_to_compare_are_said() -> None:
    targets = np.array([0, 1, 0, 1])
    assert "too few rows" in probe(features_of(targets, 0.1, 1), targets, 2, 0).note
