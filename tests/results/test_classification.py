"""Metrics against scikit-learn, their intervals by simulation and by hand."""

import numpy as np
import pytest
from sklearn import metrics

from feinschliff.results.classification import (
    MULTI_LABEL_METRICS,
    SINGLE_LABEL_METRICS,
    classification_metrics,
    confusion_matrix,
    metric_function,
    multi_label_metrics,
    per_class,
)


def predictions_of(references: np.ndarray, accuracy: float, num_classes: int, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    guess = generator.integers(0, num_classes, len(references))
    return np.where(generator.random(len(references)) < accuracy, references, guess)


@pytest.fixture
def single() -> tuple[np.ndarray, np.ndarray]:
    # Uneven classes; class 5 of 7 is never the reference, class 6 is in neither.
    references = np.random.default_rng(0).choice(5, size=400, p=[0.5, 0.3, 0.15, 0.04, 0.01])
    return references, predictions_of(references, 0.8, 6)


@pytest.fixture
def several() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    references = generator.random((300, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.0]
    return references, references ^ (generator.random((300, 6)) < [0.1, 0.1, 0.1, 0.05, 0.02, 0.0])


def expected_single(references: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": metrics.accuracy_score(references, predictions),
        "macro_f1": metrics.f1_score(references, predictions, average="macro", zero_division=0),
        "weighted_f1": metrics.f1_score(references, predictions, average="weighted", zero_division=0),
        "balanced_accuracy": metrics.recall_score(
            references, predictions, average="macro", labels=np.unique(references), zero_division=0
        ),
        "mcc": metrics.matthews_corrcoef(references, predictions),
    }


def test_single_label_metrics_equal_scikit_learns(single: tuple[np.ndarray, np.ndarray]) -> None:
    found = classification_metrics(*single, num_classes=7, samples=200)
    assert tuple(found) == SINGLE_LABEL_METRICS
    assert {name: m.value for name, m in found.items()} == pytest.approx(expected_single(*single))
    for name, measure in found.items():
        assert measure.low < measure.value < measure.high, name
        assert metric_function(name, 7)(*single) == pytest.approx(measure.value)


def test_multi_label_metrics_equal_scikit_learns(several: tuple[np.ndarray, np.ndarray]) -> None:
    found = multi_label_metrics(*several, samples=200)
    assert tuple(found) == MULTI_LABEL_METRICS
    occurring = [several[0][:, :5], several[1][:, :5]]
    assert {name: m.value for name, m in found.items()} == pytest.approx(
        {
            "micro_f1": metrics.f1_score(*several, average="micro"),
            "macro_f1": metrics.f1_score(*occurring, average="macro"),
            "subset_accuracy": metrics.accuracy_score(*several),
            "hamming_loss": metrics.hamming_loss(*several),
        }
    )
    for name, measure in found.items():
        assert measure.low < measure.value < measure.high, name
        assert metric_function(name, 6)(*several) == pytest.approx(measure.value)


def test_confusion_matrix_equals_scikit_learns(single: tuple[np.ndarray, np.ndarray]) -> None:
    assert (confusion_matrix(*single, 7) == metrics.confusion_matrix(*single, labels=range(7))).all()


def test_the_cell_bootstrap_is_the_row_bootstrap(single: tuple[np.ndarray, np.ndarray]) -> None:
    """Drawing cells is drawing rows: the interval equals one from explicitly resampled rows."""
    references, predictions = (np.tile(a, 3) for a in single)  # every class has ten rows: no strata
    generator = np.random.default_rng(3)
    draws = []
    for _ in range(1500):
        rows = generator.integers(0, len(references), len(references))
        draws.append(metric_function("macro_f1", 7)(references[rows], predictions[rows]))
    found = classification_metrics(references, predictions, 7, samples=1500)["macro_f1"]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.008)


def test_intervals_cover_the_truth() -> None:
    """The true macro F1 of a classifier of known accuracy lies in nineteen of twenty intervals, roughly."""
    truth = metric_function("macro_f1", 4)
    everything = np.repeat(np.arange(4), 100_000)
    target = truth(everything, predictions_of(everything, 0.8, 4, seed=99))
    inside = 0
    for seed in range(200):
        references = np.random.default_rng(seed).integers(0, 4, 250)
        found = classification_metrics(references, predictions_of(references, 0.8, 4, seed + 1000), 4, 300, seed=seed)
        inside += found["macro_f1"].low <= target <= found["macro_f1"].high
    assert 0.90 <= inside / 200 <= 0.99


def test_every_row_right_is_not_certainty() -> None:
    references = np.arange(4).repeat(5)
    for name, measure in classification_metrics(references, references, 4, samples=100).items():
        assert (measure.value, measure.high) == (1.0, 1.0), name
        assert 0.8 < measure.low < 0.9, name
    both = np.eye(3, dtype=bool).repeat(5, axis=0)
    loss = multi_label_metrics(both, both, samples=100)["hamming_loss"]
    assert (loss.value, loss.low) == (0.0, 0.0)
    assert loss.high > 0.1


def test_a_class_with_one_row_stays_in_every_resample() -> None:
    references = np.array([0] * 40 + [1])
    found = classification_metrics(references, references * 0, 2, samples=500)["balanced_accuracy"]
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_per_class_table(single: tuple[np.ndarray, np.ndarray], several: tuple[np.ndarray, np.ndarray]) -> None:
    for references, predictions, names in ((*single, list("abcdefg")), (*several, list("abcdef"))):
        table = per_class(references, predictions, names)
        labels = range(len(names)) if references.ndim == 1 else None
        precision, recall, f1, support = metrics.precision_recall_fscore_support(
            references, predictions, labels=labels, zero_division=0
        )
        assert [row.label for row in table] == names
        assert [row.support for row in table] == support.tolist()
        assert [row.precision.value for row in table] == pytest.approx(precision)
        assert [row.recall.value for row in table] == pytest.approx(recall)
        assert [row.f1 for row in table] == pytest.approx(f1)
        assert table[-1].recall.model_dump() == {"value": 0.0, "low": 0.0, "high": 1.0}


def test_the_same_seed_gives_the_same_intervals(single: tuple[np.ndarray, np.ndarray]) -> None:
    assert classification_metrics(*single, 7, seed=1) == classification_metrics(*single, 7, seed=1)
    assert classification_metrics(*single, 7, seed=1) != classification_metrics(*single, 7, seed=2)


def test_arrays_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="must match"):
        classification_metrics(np.array([0, 1]), np.array([0]), 2)
    with pytest.raises(ValueError, match="not empty"):
        multi_label_metrics(np.zeros((0, 2), dtype=bool), np.zeros((0, 2), dtype=bool))
