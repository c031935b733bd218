"""What was learned by heart: the figures are those of the kept model, the words follow from the figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feinschliff.lifecycle import diagnosis
from feinschliff.lifecycle.diagnosis import Side, diagnose
from feinschliff.results.training import CurvePoint
from tests.numerics.tiny_runs import made_run, made_splits, train_to_end

CURVE = [
    CurvePoint(step=step, epoch=step / 6, validation_loss=loss, validation_metric=0.5)
    for step, loss in ((6, 0.9), (12, 0.5), (18, 0.7))
]


def side(metric: float, sure: float) -> Side:
    return Side(rows=100, loss=0.5, metric=metric, sure=sure, wrong=[])


@pytest.mark.parametrize("kind", ["single", "multi", "pair"])
def test_the_figures_are_those_of_the_weights_it_is_given(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    splits = made_splits(kind=kind)
    fit = train_to_end(tiny_bert, tmp_path / "a", splits, epochs=3.0, learning_rate=3e-3)
    prepared = made_run(tiny_bert, tmp_path / "b", splits)
    found = diagnose(prepared, fit.learner.masters.named(), splits, CURVE, 12)
    assert found is not None
    prepared.learner.masters.load(fit.learner.masters.named())
    loss, metric, *_ = prepared.validate()
    assert found.validation_loss == pytest.approx(loss, rel=1e-5)
    assert found.validation_metric == pytest.approx(metric)
    assert (found.train_rows, found.validation_rows) == (48, 24)
    assert found.loss_rises_after == 12
    assert (found.best_step, found.last_step) == (12, 18)


def test_rows_that_are_learned_and_yet_answered_otherwise_are_listed(tiny_bert: Path, tmp_path: Path) -> None:
    """A head that knows the right answer of all rows contradicts the one whose label was changed."""
    splits = made_splits()
    changed = replace(splits.train[7], labels=("money" if splits.train[7].labels[0] != "money" else "film",))
    prepared = made_run(tiny_bert, tmp_path, splits)
    honest = splits.train[7].labels[0]
    splits.train[7] = changed
    place = sorted({"delivery", "film", "money"}).index(honest)
    weights = {name: value.clone() for name, value in prepared.learner.masters.named().items()}
    weights["head.linear.weight"].zero_()
    weights["head.linear.bias"].zero_()
    weights["head.linear.bias"][place] = 9.0
    found = diagnose(prepared, weights, splits, CURVE, 18)
    assert found is not None
    assert {row.prediction for row in found.wrong} == {honest}
    assert all(row.reference != honest and row.confidence > 0.99 for row in found.wrong)
    assert len(found.wrong) == diagnosis.SHOWN_WRONG
    assert found.train_sure == pytest.approx(np.mean([row.labels[0] == honest for row in splits.train]))
    timid = {**weights, "head.linear.bias": weights["head.linear.bias"] / 9.0}
    again = diagnose(prepared, timid, splits, CURVE, 18)
    assert again is not None
    assert (again.wrong, again.train_sure) == ([], 0.0)


def test_a_large_lead_of_the_training_rows_is_called_by_its_name() -> None:
    said = " ".join(diagnosis._in_words("accuracy", side(0.99, 0.9), side(0.85, 0.4), CURVE, 12))
    assert "accuracy 99.0%, validation rows: 85.0% (+14.0 points)" in said
    assert "90% of them are answered right with over 99% confidence, of the validation rows 40%" in said
    assert "lowest at step 12 of 18 and rose" in said
    assert "Validation was best at step 12 of 18." in said


def test_surer_is_not_called_better() -> None:
    said = diagnosis._in_words("accuracy", side(1.0, 0.9), side(0.98, 0.5), CURVE, 18)
    assert said[1].startswith("The model is surer of training rows (90% of them")
    assert "by heart" not in " ".join(said)


def test_a_lead_on_few_rows_may_be_chance() -> None:
    few = [Side(rows=12, loss=0.5, metric=metric, sure=0.5, wrong=[]) for metric in (1.0, 0.83)]
    assert "no sign" in diagnosis._in_words("accuracy", few[0], few[1], CURVE, 18)[1]


def test_where_there_is_nothing_to_warn_of_it_does_not() -> None:
    calm = [point.model_copy(update={"validation_loss": 0.5}) for point in CURVE]
    said = diagnosis._in_words("accuracy", side(0.9, 0.4), side(0.88, 0.38), calm, 18)
    assert len(said) == 2
    assert "no sign of learning by heart" in said[1]


def test_large_sets_are_sampled(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "SAMPLE_ROWS", 10)
    splits = made_splits()
    prepared = made_run(tiny_bert, tmp_path, splits)
    found = diagnose(prepared, prepared.learner.masters.named(), splits, CURVE, 18)
    assert found is not None
    assert (found.train_rows, found.validation_rows) == (10, 10)


def test_of_a_task_without_classes_nothing_is_said(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = made_splits()
    prepared = made_run(tiny_bert, tmp_path, splits)
    monkeypatch.setattr(diagnosis.registry, "says", lambda kind, name, fact: False)
    assert diagnose(prepared, prepared.learner.masters.named(), splits, CURVE, 18) is None
