"""A run that was stopped after any step and started again is, to the bit, the run that was left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from feinschliff.engine import loop
from feinschliff.errors import Interrupted
from feinschliff.lifecycle.finish import weights_hash
from tests.numerics.tiny_runs import METHODS, hash_of, made_fit, made_run, made_splits

CHANGES: dict[str, Any] = {
    "epochs": 2.0,
    "checkpoint_every_steps": 3,
    "evaluations_per_epoch": 2,
    "early_stopping_patience": None,
    "model": {"dropout": 0.2},
}


TASKS = {
    "regression": ("values", "tiny_bert"),
    "token_classification": ("spans", "tiny_bert"),
    "question_answering": ("answers", "tiny_bert"),
    "embeddings": ("ranked", "tiny_bert"),
    "image_classification": ("images", "tiny_vit"),
    "sequence_to_sequence": ("texts", "tiny_bart"),
    "tabular_classification": ("numbers", "tiny_keras"),
    "sft": ("conversations", "tiny_decoder"),
}


def start(folder: Path, path: Path, kind: str = "single", **changes: Any) -> loop.Fit:
    torch.manual_seed(id(path) % 1000)  # what was drawn before must not matter
    fit = made_fit(made_run(folder, path, made_splits(40, kind=kind), **{**CHANGES, **changes}), path)
    loop.resume(fit)
    return fit


def outcome(fit: loop.Fit) -> dict[str, Any]:
    state = fit.state
    return {
        "weights": hash_of(fit),
        "best": weights_hash(load_file(loop.best_file(fit))),
        "moments": weights_hash(fit.learner.optimizer.state()),
        "curve": [point.model_dump() for point in state.curve],
        "counts": (state.step, state.tokens, state.best_step, state.best_metric, state.stopped_early),
    }


def stopped_then_finished(folder: Path, path: Path, stops: list[int], **changes: Any) -> dict[str, Any]:
    """The outcome of a run that is asked to stop after each of the steps, and started anew each time."""
    for step in stops:
        fit = start(folder, path, **changes)
        fit.stop_requested = lambda fit=fit, step=step: fit.state.step >= step
        with pytest.raises(Interrupted):
            list(loop.fit(fit))
        assert fit.state.step == step
    fit = start(folder, path, **changes)
    assert fit.state.step == (stops[-1] if stops else 0)
    list(loop.fit(fit))
    return outcome(fit)


@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_is_the_run_left_alone(tiny_bert: Path, tmp_path: Path, method: str) -> None:
    changes = {"method": METHODS[method]}
    expected = stopped_then_finished(tiny_bert, tmp_path / "alone", [], **changes)
    assert len(expected["curve"]) == 10
    assert sum(point["validation_loss"] is not None for point in expected["curve"]) == 5
    assert stopped_then_finished(tiny_bert, tmp_path / "a", [1, 5, 7], **changes) == expected


@pytest.mark.parametrize("task", TASKS)
def test_a_run_of_each_task_resumes(request: pytest.FixtureRequest, tmp_path: Path, task: str) -> None:
    kind, model = TASKS[task]
    folder = request.getfixturevalue(model)
    changes: dict[str, Any] = {"kind": kind, "task": {"type": task}, "weight_averaging": 0.2}
    if task == "tabular_classification":
        changes["model"] = {}  # a Keras file brings its own dropout
    expected = stopped_then_finished(folder, tmp_path / "alone", [], **changes)
    assert expected["counts"][0] == 10
    assert stopped_then_finished(folder, tmp_path / "a", [2, 5, 7], **changes) == expected


def test_in_bf16_the_masters_come_back(tiny_bert: Path, tmp_path: Path) -> None:
    expected = stopped_then_finished(tiny_bert, tmp_path / "alone", [], precision="bf16")
    assert stopped_then_finished(tiny_bert, tmp_path / "a", [4], precision="bf16") == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_average_of_the_weights_comes_back(tiny_bert: Path, tmp_path: Path, precision: str) -> None:
    changes = {"weight_averaging": 0.3, "base_weights_share": 0.2, "precision": precision, "keep_weights": "last"}
    expected = stopped_then_finished(tiny_bert, tmp_path / "alone", [], **changes)
    assert stopped_then_finished(tiny_bert, tmp_path / "a", [1, 5, 9], **changes) == expected


def test_without_validation_rows_a_resumed_run_is_the_same(tiny_bert: Path, tmp_path: Path) -> None:
    changes = {"keep_weights": "last", "weight_averaging": 0.3}

    def finished(path: Path, stops: list[int]) -> dict[str, Any]:
        for step in [*stops, None]:
            fit = start(tiny_bert, path, **changes)
            fit.validate = None
            if step is None:
                list(loop.fit(fit))
                break
            fit.stop_requested = lambda fit=fit, step=step: fit.state.step >= step
            with pytest.raises(Interrupted):
                list(loop.fit(fit))
        return outcome(fit)

    expected = finished(tmp_path / "alone", [])
    assert expected["counts"][2:4] == (expected["counts"][0], None)
    assert all(point["validation_loss"] is None for point in expected["curve"])
    assert finished(tmp_path / "a", [1, 5, 7]) == expected


OPTIONS: dict[str, dict[str, Any]] = {
    "l2-sp": {"regularisation": {"l2_sp": 0.5, "l2_sp_head": 0.1}},
    "l2-sp decoupled": {"regularisation": {"l2_sp": 20.0, "l2_sp_form": "decoupled"}, "precision": "bf16"},
    "r-drop": {"regularisation": {"r_drop": 1.0}},
    "mixup": {"regularisation": {"mixup": 0.4}},
    "contrast": {"regularisation": {"pair_contrast": 1.0}},
    "soup": {"regularisation": {"soup": 3}, "learning_rate": 1e-2},
    "class weights": {"balance": {"class_weights": "balanced"}},
    "gradual": {"regularisation": {"l2_sp": 0.5}, "method": METHODS["gradual_unfreezing"]},
    "sampling": {"balance": {"sampling": "balanced"}},
    "watched": {"regularisation": {"early_stopping_metric": "loss"}, "early_stopping_patience": 2},
    "all": {
        "regularisation": {"l2_sp": 0.5, "r_drop": 1.0, "soup": 2, "early_stopping_metric": "macro_f1"},
        "balance": {"class_weights": "sqrt", "sampling": "balanced"},
        "early_stopping_patience": 3,
    },
}


@pytest.mark.parametrize("option", OPTIONS)
def test_with_each_option_against_overfitting_a_resumed_run_is_the_same(
    tiny_bert: Path, tmp_path: Path, option: str
) -> None:
    plain = stopped_then_finished(tiny_bert, tmp_path / "plain", [], precision=OPTIONS[option].get("precision", "fp32"))
    expected = stopped_then_finished(tiny_bert, tmp_path / "alone", [], **OPTIONS[option])
    assert stopped_then_finished(tiny_bert, tmp_path / "a", [2, 4], **OPTIONS[option]) == expected
    if option not in ("soup", "watched"):
        assert expected["weights"] != plain["weights"], "the option does something"


def test_what_a_soup_is_made_of_survives_a_kill(tiny_bert: Path, tmp_path: Path) -> None:
    """Killed two validations after the checkpoint: whose files it refers to are still there."""
    changes = {"regularisation": {"soup": 2}, "epochs": 3.0, "evaluations_per_epoch": 5}
    expected = stopped_then_finished(tiny_bert, tmp_path / "alone", [], **changes)
    killed = start(tiny_bert, tmp_path / "a", **changes)
    for event in loop.fit(killed):
        if killed.state.step == 11 and type(event).__name__ == "Evaluated":
            break
    fit = start(tiny_bert, tmp_path / "a", **changes)
    assert fit.state.step == 9
    list(loop.fit(fit))
    assert outcome(fit) == expected


def test_early_stopping_counts_on(tiny_bert: Path, tmp_path: Path) -> None:
    changes = {"epochs": 6.0, "early_stopping_patience": 2, "learning_rate": 1e-9}
    expected = stopped_then_finished(tiny_bert, tmp_path / "alone", [], **changes)
    assert expected["counts"][4], "this run stops early"
    assert stopped_then_finished(tiny_bert, tmp_path / "a", [3, 4], **changes) == expected


def test_killed_without_a_word_goes_on_from_the_last_checkpoint(tiny_bert: Path, tmp_path: Path) -> None:
    """Steps after the checkpoint, a better validation among them, are done again and give the same."""
    expected = stopped_then_finished(tiny_bert, tmp_path / "alone", [])
    killed = start(tiny_bert, tmp_path / "a")
    for event in loop.fit(killed):
        if killed.state.step == 8 and type(event).__name__ == "StepEnded":
            break
    fit = start(tiny_bert, tmp_path / "a")
    assert fit.state.step == 6
    list(loop.fit(fit))
    assert outcome(fit) == expected


def test_dropout_really_draws(tiny_bert: Path, tmp_path: Path) -> None:
    with_dropout = stopped_then_finished(tiny_bert, tmp_path / "a", [])
    without = stopped_then_finished(tiny_bert, tmp_path / "b", [], model={"dropout": 0.0})
    assert with_dropout["weights"] != without["weights"]
