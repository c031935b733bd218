"""Regression: scaling, missing targets, the head's start, answers in units, what other programs read."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from feinschliff.config.load import load_run_config
from feinschliff.data.examples import Example, Place
from feinschliff.engine import loop
from feinschliff.lifecycle.finish import export_best
from feinschliff.lifecycle.prepare import moments
from feinschliff.lifecycle.tune import tune
from feinschliff.models.heads import Head
from feinschliff.predictor import Predictor
from feinschliff.store.run_directory import RunDirectory
from feinschliff.tasks._regression import Regression
from feinschliff.tasks._task import TaskContext
from feinschliff.tasks.regression import RegressionConfig
from tests.numerics.tiny_runs import examples, made_fit, made_run, made_splits, resolved


def row(*values: float) -> Example:
    return Example(("a text",), (), Place("made-up", 1), values=values)


def task_of(*rows: Example) -> Regression:
    means, scales = moments(rows)
    context = TaskContext((), False, 1, target_names=("x", "y")[: len(means)], target_means=means, target_scales=scales)
    return Regression(RegressionConfig(), context)


def test_targets_are_scaled_and_answers_come_back_in_units() -> None:
    rows = [row(1.0, 100.0), row(3.0, float("nan")), row(5.0, 300.0)]
    task = task_of(*rows)
    targets = task.targets_of(rows)
    assert targets is not None
    np.testing.assert_allclose(targets[:, 0], (np.array([1, 3, 5]) - 3) / np.std([1, 3, 5]), rtol=1e-6)
    assert torch.isnan(targets[1, 1])
    back = task.answers(targets.numpy())
    np.testing.assert_allclose(back[:, 0], [1, 3, 5], rtol=1e-6)
    np.testing.assert_allclose(back[[0, 2], 1], [100, 300], rtol=1e-6)


def test_a_constant_target_has_scale_one() -> None:
    assert moments([row(4.0), row(4.0)]) == ((4.0,), (1.0,))


def test_the_loss_is_half_the_squared_error_of_what_is_there() -> None:
    task, batch = task_of(row(0.0, 1.0), row(1.0, 2.0)), type("B", (), {})()
    batch.targets = torch.tensor([[1.0, float("nan")], [2.0, 3.0]])
    out = task.loss(lambda _: torch.tensor([[0.0, 9.0], [2.0, 1.0]]), batch)  # type: ignore[arg-type]
    assert float(out.loss_sum) == pytest.approx(0.5 * (1 + 0 + 4))
    assert out.num_targets == 3


def test_the_head_starts_at_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8)).astype(np.float32)
    y = (x @ rng.normal(size=(8, 2)) + 3.0).astype(np.float32)
    y[5, 1] = np.nan
    head = Head(8, 2, 0.0)
    head.start_from_ridge(torch.from_numpy(x), torch.from_numpy(y))
    length = np.linalg.norm(x, axis=1).mean()
    for k in range(2):
        known = ~np.isnan(y[:, k])
        theirs = Ridge(alpha=1.0).fit(x[known] / length, y[known, k])
        np.testing.assert_allclose(head.linear.weight[k].detach() * length, theirs.coef_, rtol=1e-3, atol=1e-4)
        assert float(head.linear.bias[k]) == pytest.approx(float(theirs.intercept_), rel=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_transformers_answers_in_units(tiny_bert: Path, tmp_path: Path, pooling: str) -> None:
    from transformers import pipeline

    splits = made_splits(24, 12, "values")
    prepared = made_run(tiny_bert, tmp_path, splits, task="regression", model={"pooling": pooling})
    fit = made_fit(prepared, tmp_path)
    list(loop.fit(fit))
    export_best(prepared, loop.best_file(fit), resolved(tiny_bert), splits, RunDirectory(tmp_path))
    predictor = Predictor(tmp_path)
    ours = predictor.score(splits.validation).answers
    np.testing.assert_allclose(ours, prepared.task.answers(prepared.validation_outputs()), atol=1e-4)
    estimate = pipeline("text-classification", model=str(tmp_path / "model"), device="cpu")
    theirs = [estimate(example.texts[0], function_to_apply="none")[0]["score"] for example in splits.validation]
    np.testing.assert_allclose(theirs, ours[:, 0], atol=1e-3)
    plain = predictor.task.plain_outputs(predictor.folder, splits.validation)
    np.testing.assert_allclose(plain, predictor.outputs(splits.validation), atol=1e-4)


def run(tmp_path: Path, folder: Path, table: list[list[Any]], header: list[str], **data: Any) -> Any:
    with (tmp_path / "rows.csv").open("w", newline="") as out:
        csv.writer(out).writerows([header, *table])
    values = {
        "data": {"train": [str(tmp_path / "rows.csv")], **data},
        "model": {"source": str(folder)},
        "method": {"type": "frozen_layers", "trained_layers": 1},
        "training": {"precision": "fp32", "num_threads": 1, "epochs": 2.0},
        "output_dir": str(tmp_path / "run"),
    }
    return tune(*load_run_config(None, values), budget_seconds=60.0)


@pytest.mark.slow
def test_tune_recognises_numbers_and_says_what_it_did(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [[f"{e.texts[0]} n{n}", round(e.values[0] + 0.013 * n, 3)] for n, e in enumerate(examples(150, 1, "values"))]
    result = run(tmp_path, tiny_bert, rows, ["text", "price"])
    assert result.metric == "r2"
    assert set(result.test) == {"pearson", "spearman", "r2", "rmse", "mae"}
    assert set(result.baselines) == {"mean", "linear probe"}
    assert any("task regression" in note for note in result.details.announcements)
    assert result.details.evaluation.targets[0].name == "price"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="point"') == result.rows.test
    assert "Predicted against true: price" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    answers = Predictor(tmp_path / "run").task.results(np.array([[1.5]]), [row(1.0)])
    assert answers[0].values == {"price": 1.5}


@pytest.mark.slow
def test_several_numbers_one_of_them_missing_and_an_error_that_decides(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [
        [f"{e.texts[0]} n{n}", e.values[0] + n / 7, "" if n % 9 == 0 else 100 * e.values[0]]
        for n, e in enumerate(examples(120, 1, "values"))
    ]
    values = {"target": "a,b", "rows": "values"}
    result = run(tmp_path, tiny_bert, rows, ["text", "a", "b"], **values)
    assert [target.name for target in result.details.evaluation.targets] == ["a", "b"]
    assert result.details.evaluation.targets[1].rows < result.details.evaluation.targets[0].rows
