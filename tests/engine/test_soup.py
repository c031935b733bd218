"""The greedy soup: whose weights join the mean, that it is what is kept, and that all it needs survives a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from feinschliff.engine import loop
from feinschliff.engine.events import Announced
from feinschliff.engine.soup import Weights, greedy_soup, ingredients
from feinschliff.results.training import CurvePoint
from tests.numerics.tiny_runs import largest_difference, made_fit, made_run


def point(step: int, metric: float | None) -> CurvePoint:
    return CurvePoint(step=step, epoch=float(step), validation_loss=0.5, validation_metric=metric)


def test_the_best_come_first_and_of_equal_ones_the_earlier() -> None:
    curve = [point(1, 0.5), point(2, None), point(3, 0.9), point(4, 0.7), point(5, 0.9), point(6, 0.1)]
    assert [p.step for p in ingredients(curve, 3, "accuracy")] == [3, 5, 4]
    assert ingredients(curve, 0, "accuracy") == []
    assert [p.step for p in ingredients(curve, 3, "rmse")] == [6, 1, 4]


def test_each_joins_the_mean_only_where_the_score_is_no_worse(tmp_path: Path) -> None:
    """Scores are the closeness to 3: 2 and 5 are averaged, 1.5 makes it better, 9 worse."""
    values = {10: 2.0, 20: 5.0, 30: 1.5, 40: 9.0}
    for step, value in values.items():
        save_file({"w": torch.full((2,), value)}, tmp_path / str(step))
    tried: list[float] = []

    def score(weights: Weights) -> tuple[float, float]:
        tried.append(float(weights["w"][0]))
        return 0.1, -abs(tried[-1] - 3.0)

    points = [point(step, -abs(value - 3.0)) for step, value in values.items()]
    soup = greedy_soup(points, lambda step: tmp_path / str(step), score, "accuracy")
    assert tried == pytest.approx([3.5, (2 + 5 + 1.5) / 3, (2 + 5 + 1.5 + 9) / 4])
    assert soup.steps == (10, 20, 30)
    assert soup.weights["w"].tolist() == pytest.approx([(2 + 5 + 1.5) / 3] * 2)
    assert soup.metric == pytest.approx(-(3 - (2 + 5 + 1.5) / 3))


def test_of_errors_less_is_better(tmp_path: Path) -> None:
    for step, value in ((1, 2.0), (2, 4.0), (3, 9.0)):
        save_file({"w": torch.full((2,), value)}, tmp_path / str(step))
    points = [point(1, 1.0), point(2, 1.1), point(3, 6.0)]
    soup = greedy_soup(points, lambda s: tmp_path / str(s), lambda w: (0.1, abs(float(w["w"][0]) - 3.0)), "rmse")
    assert (soup.steps, soup.metric) == ((1, 2), 0.0)


def soup_run(folder: Path, path: Path, metrics: list[float], **changes: object) -> tuple[loop.Fit, list[str]]:
    """A run of four validations with these metrics, and then those of the mixtures; what was announced."""
    options = {"soup": 3}
    made = made_run(folder, path, epochs=4, early_stopping_patience=None, regularisation=options, **changes)
    fit = made_fit(made, path)
    given = iter(metrics)
    fit.validate = lambda: (0.5, next(given))
    return fit, [event.message for event in loop.fit(fit) if isinstance(event, Announced)]


def test_a_soup_that_is_no_worse_is_what_is_kept(tiny_bert: Path, tmp_path: Path) -> None:
    fit, said = soup_run(tiny_bert, tmp_path, [0.5, 0.8, 0.6, 0.7, 0.8, 0.9])
    assert sorted(file.name for file in fit.checkpoints.glob("best-*")) == [
        f"best-{step:08d}.safetensors" for step in (12, 18, 24)
    ]
    parts = [load_file(fit.checkpoints / f"best-{step:08d}.safetensors") for step in (12, 24, 18)]
    mean = {name: sum(part[name] for part in parts) / 3 for name in parts[0]}
    kept = load_file(loop.best_file(fit))
    assert largest_difference(kept, {name: torch.as_tensor(value) for name, value in mean.items()}) < 1e-6
    assert (fit.state.best_step, fit.state.best_metric, fit.state.soup_steps) == (12, 0.9, [12, 24, 18])
    assert "the average of the weights after steps 12, 24, 18" in said[0]


def test_a_soup_that_is_worse_is_not(tiny_bert: Path, tmp_path: Path) -> None:
    fit, said = soup_run(tiny_bert, tmp_path, [0.5, 0.8, 0.6, 0.7, 0.79, 0.79])
    assert loop.best_file(fit).name == "best-00000012.safetensors"
    assert (fit.state.best_metric, fit.state.soup_steps) == (0.8, [])
    assert "none of the 3" in said[0]


def test_afterwards_the_network_has_the_weights_of_the_last_step(tiny_bert: Path, tmp_path: Path) -> None:
    metrics = [0.5, 0.8, 0.6, 0.7, 0.8, 0.9]
    with_soup, _ = soup_run(tiny_bert, tmp_path / "a", metrics)
    plain = made_fit(made_run(tiny_bert, tmp_path / "b", epochs=4, early_stopping_patience=None), tmp_path / "b")
    list(loop.fit(plain))
    assert largest_difference(with_soup.learner.masters.named(), plain.learner.masters.named()) == 0.0
