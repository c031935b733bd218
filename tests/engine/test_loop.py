"""What controls training: early stopping, the best weights, steps and epochs, and what a stop leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from feinschliff.engine import loop
from feinschliff.engine.contracts import LossOutput
from feinschliff.engine.events import CheckpointSaved, Evaluated, RunEnded, StepEnded
from feinschliff.engine.scoring import mean_loss
from feinschliff.errors import DivergedError, Interrupted
from tests.numerics.tiny_runs import hash_of, largest_difference, made_fit, made_run, weights_of


def scripted(folder: Path, path: Path, metrics: list[float], **changes: Any) -> tuple[loop.Fit, list[dict[str, Any]]]:
    """A fit whose validations give ``metrics``; the weights at each."""
    fit = made_fit(made_run(folder, path, **changes), path)
    seen: list[dict[str, Any]] = []

    def validate() -> tuple[float, float]:
        seen.append(weights_of(fit))
        return 0.5, metrics[len(seen) - 1]

    fit.validate = validate
    return fit, seen


def test_early_stopping_keeps_the_best_weights(tiny_bert: Path, tmp_path: Path) -> None:
    fit, seen = scripted(tiny_bert, tmp_path, [0.3, 0.6, 0.6, 0.5, 0.9], epochs=5, early_stopping_patience=2)
    events = list(loop.fit(fit))
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert [event.best for event in evaluated] == [True, True, False, False]
    assert isinstance(events[-1], RunEnded)
    assert (fit.state.step, fit.state.best_step, fit.state.best_metric) == (24, 12, 0.6)
    assert fit.state.stopped_early
    kept = load_file(loop.best_file(fit))
    assert largest_difference(kept, seen[1]) == 0.0
    assert largest_difference(kept, weights_of(fit)) > 0.0


def test_where_the_last_weights_are_kept_validation_does_not_stop_the_run(tiny_bert: Path, tmp_path: Path) -> None:
    metrics = [0.9, 0.1, 0.1, 0.1, 0.2]
    changes = {"epochs": 5, "early_stopping_patience": 1, "keep_weights": "last"}
    fit, seen = scripted(tiny_bert, tmp_path, metrics, **changes)
    list(loop.fit(fit))
    assert (fit.state.step, fit.state.best_step, fit.state.best_metric) == (30, 30, 0.2)
    assert largest_difference(load_file(loop.best_file(fit)), seen[-1]) == 0.0
    assert [file.name for file in tmp_path.rglob("best-*")] == [loop.best_file(fit).name]


def test_without_patience_it_runs_to_the_end(tiny_bert: Path, tmp_path: Path) -> None:
    metrics = [0.9, 0.1, 0.1, 0.1, 0.1]
    fit, _ = scripted(tiny_bert, tmp_path, metrics, epochs=5, early_stopping_patience=None)
    list(loop.fit(fit))
    assert (fit.state.step, fit.state.best_step, fit.state.stopped_early) == (30, 6, False)


def test_steps_epochs_and_what_events_say(tiny_bert: Path, tmp_path: Path) -> None:
    changes = {"epochs": 1.5, "global_batch_rows": 20, "evaluations_per_epoch": 3, "early_stopping_patience": None}
    fit = made_fit(made_run(tiny_bert, tmp_path, **changes), tmp_path)
    steps = [event for event in loop.fit(fit) if isinstance(event, StepEnded)]
    assert [event.rows for event in steps] == [20, 20, 8, 20, 20]
    assert [event.step for event in steps] == [1, 2, 3, 4, 5]
    assert {event.total_steps for event in steps} == {5}
    assert steps[2].epoch == pytest.approx(1.0)
    assert sum(event.tokens for event in steps[:3]) == len(fit.learner.table.ids)
    assert [point.step for point in fit.state.curve] == [1, 2, 3, 4, 5]
    assert fit.state.tokens == sum(event.tokens for event in steps)


def test_max_steps_bounds_the_run(tiny_bert: Path, tmp_path: Path) -> None:
    fit = made_fit(made_run(tiny_bert, tmp_path, max_steps=2), tmp_path)
    list(loop.fit(fit))
    assert fit.state.step == 2
    assert [point.step for point in fit.state.curve if point.validation_metric is not None] == [2]


def test_the_training_loss_has_a_point_every_few_steps(tiny_bert: Path, tmp_path: Path) -> None:
    changes = {"epochs": 2.0, "global_batch_rows": 1, "weight_averaging": 0.0}
    fit = made_fit(made_run(tiny_bert, tmp_path, **changes), tmp_path)
    losses = [event.loss for event in loop.fit(fit) if isinstance(event, StepEnded)]
    assert fit.curve_steps == 2
    assert [point.step for point in fit.state.curve] == list(range(2, 97, 2))
    for point in fit.state.curve:
        assert point.train_loss == pytest.approx(sum(losses[point.step - 2 : point.step]) / 2)
    assert [point.step for point in fit.state.curve if point.validation_loss is not None] == [48, 96]


def test_a_time_limit_ends_in_good_order(tiny_bert: Path, tmp_path: Path) -> None:
    fit = made_fit(made_run(tiny_bert, tmp_path), tmp_path, max_seconds=0.0)
    list(loop.fit(fit))
    assert fit.state.step == 1
    assert fit.state.best_step == 1
    assert fit.state.stopped_early


def test_the_fewest_epochs_are_made_past_the_time_limit(tiny_bert: Path, tmp_path: Path) -> None:
    fit = made_fit(made_run(tiny_bert, tmp_path, epochs=2.0), tmp_path, max_seconds=0.0, fewest_epochs=1.0)
    list(loop.fit(fit))
    assert fit.state.step == fit.steps_per_epoch < fit.total_steps
    assert fit.state.stopped_early


def test_a_stop_is_saved_even_if_it_comes_between_two_questions(tiny_bert: Path, tmp_path: Path) -> None:
    fit = made_fit(made_run(tiny_bert, tmp_path, checkpoint_every_steps=100), tmp_path)
    answers = iter([False, True, True, True])
    fit.stop_requested = lambda: next(answers)
    events = []
    with pytest.raises(Interrupted):
        events.extend(iter(loop.fit(fit)))
    assert (fit.checkpoints / f"step-{fit.state.step:08d}" / "state.json").exists()


def test_checkpoints_by_steps_and_how_many_stay(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, epochs=2.0, checkpoint_every_steps=2, keep_checkpoints=3)
    fit = made_fit(prepared, tmp_path)
    saved = [event.step for event in loop.fit(fit) if isinstance(event, CheckpointSaved)]
    assert saved == [2, 4, 6, 8, 10, 12]
    names = sorted(path.name for path in fit.checkpoints.iterdir() if path.name.startswith("step"))
    assert names == ["step-00000008", "step-00000010", "step-00000012"]
    assert [path for path in fit.checkpoints.iterdir() if path.name.startswith(".")] == []


def test_without_state_nothing_but_the_best_weights_is_written(tiny_bert: Path, tmp_path: Path) -> None:
    fit = made_fit(made_run(tiny_bert, tmp_path, checkpoint_every_steps=1), tmp_path, save_state=False)
    list(loop.fit(fit))
    assert all(path.name.startswith("best-") for path in fit.checkpoints.iterdir())


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_label_smoothing_is_torchs_in_training_and_off_in_scoring(
    tiny_bert: Path, tmp_path: Path, smoothing: float
) -> None:
    prepared = made_run(tiny_bert, tmp_path, label_smoothing=smoothing)
    from feinschliff.engine.batching import collate, epoch_order

    batch = collate(prepared.learner.table, epoch_order(48, 0, 0)[:8], prepared.learner.targets)
    network = prepared.network.train()
    out: LossOutput = prepared.task.loss(network, batch)
    logits = network(batch)
    expected = F.cross_entropy(logits, batch.targets, reduction="sum", label_smoothing=smoothing)
    assert float(out.loss_sum.detach()) == pytest.approx(float(expected.detach()))
    assert out.num_targets == 8
    plain = F.cross_entropy(logits, batch.targets, reduction="mean")
    unsmoothed = prepared.task.loss(network.eval(), batch).loss_sum.detach() / 8
    assert float(unsmoothed) == pytest.approx(float(plain.detach()))
    probabilities = prepared.task.predict(network, batch).detach()
    assert mean_loss(probabilities.numpy(), batch.targets) == pytest.approx(float(plain.detach()), rel=1e-5)


def test_mean_loss_of_several_labels_is_torchs() -> None:
    logits = torch.tensor([[0.3, -2.0, 5.0], [1.0, 0.0, -1.0]])
    goal = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    expected = float(F.binary_cross_entropy_with_logits(logits, goal))
    assert mean_loss(torch.sigmoid(logits).numpy(), goal) == pytest.approx(expected, rel=1e-5)


def test_same_seed_same_bits_other_seed_other_bits(tiny_bert: Path, tmp_path: Path) -> None:
    hashes = []
    for number, seed in enumerate((0, 0, 1)):
        fit = made_fit(made_run(tiny_bert, tmp_path, seed=seed, model={"dropout": 0.1}), tmp_path / str(number))
        list(loop.fit(fit))
        hashes.append(hash_of(fit))
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_saved(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path)
    fit = made_fit(prepared, tmp_path)
    honest = prepared.task.loss

    def broken(network: Any, batch: Any) -> LossOutput:
        out = honest(network, batch)
        factor = float("nan") if fit.state.step >= fit.steps_per_epoch + 1 else 1.0
        return LossOutput(out.loss_sum * factor, out.num_targets)

    prepared.task.loss = broken
    with pytest.raises(DivergedError, match=f"step {fit.steps_per_epoch + 2}"):
        list(loop.fit(fit))
    assert fit.state.step == fit.steps_per_epoch + 1
    assert all(bool(torch.isfinite(value).all()) for value in load_file(loop.best_file(fit)).values())


def watched(folder: Path, path: Path, values: list[tuple[float, ...]], metric: str) -> loop.Fit:
    """A run whose validations give ``values``, stopped by a patience of two."""
    options = {"early_stopping_metric": metric}
    fit = made_fit(made_run(folder, path, epochs=6, early_stopping_patience=2, regularisation=options), path)
    given = iter(values)
    fit.validate = lambda: next(given)
    list(loop.fit(fit))
    return fit


def test_early_stopping_can_watch_the_loss_while_the_metric_chooses(tiny_bert: Path, tmp_path: Path) -> None:
    values = [(0.9, 0.5), (0.6, 0.4), (0.7, 0.6), (0.8, 0.7), (0.1, 0.9)]
    fit = watched(tiny_bert, tmp_path, [(*value,) for value in values], "loss")
    assert (fit.state.step, fit.state.stopped_early) == (24, True)
    assert (fit.state.best_step, fit.state.best_metric) == (24, 0.7)


def test_early_stopping_can_watch_a_third_number(tiny_bert: Path, tmp_path: Path) -> None:
    values = [(0.5, 0.3, 0.8), (0.5, 0.4, 0.8), (0.5, 0.5, 0.7), (0.5, 0.9, 0.9)]
    fit = watched(tiny_bert, tmp_path, [(*value,) for value in values], "macro_f1")
    assert (fit.state.step, fit.state.best_metric, fit.state.stopped_early) == (18, 0.5, True)


def test_the_third_number_is_the_metric_that_is_watched(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, regularisation={"early_stopping_metric": "macro_f1"})
    loss, accuracy, macro_f1 = prepared.validate()
    answers = prepared.task.answers(prepared.validation_outputs(), prepared.validation)
    assert (loss, accuracy) == made_run(tiny_bert, tmp_path).validate()
    assert macro_f1 == prepared.task.score(answers, prepared.validation.examples, "macro_f1")
    for name in ("loss", prepared.metric):
        assert len(made_run(tiny_bert, tmp_path, regularisation={"early_stopping_metric": name}).validate()) == 2
