"""Checkpoints are all or nothing, and a damaged one costs only the steps since the one before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from feinschliff.engine import checkpoint, loop
from feinschliff.engine.checkpoint import TrainState
from feinschliff.errors import ResourceError, RunDirectoryError
from feinschliff.results.training import CurvePoint
from tests.numerics.tiny_runs import hash_of, made_fit, made_run, train_to_end

TENSORS = {"weight:a": torch.arange(6.0).view(2, 3), "adam:step.a": torch.tensor(3.0)}


def test_state_comes_back_whole(tmp_path: Path) -> None:
    point = CurvePoint(step=3, epoch=0.5, train_loss=1 / 3, validation_metric=0.1)
    state = TrainState(
        step=7,
        best_metric=0.1 + 0.2,
        best_step=3,
        tokens=11,
        seconds=1.25,
        loss_sum=2 / 3,
        loss_targets=5,
        curve=[point],
    )
    path = checkpoint.save(tmp_path, state, TENSORS, keep=2)
    loaded, tensors = checkpoint.load(path)
    assert loaded == state
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_only_complete_ones_count_oldest_first(tmp_path: Path) -> None:
    assert checkpoint.complete(tmp_path / "nowhere") == []
    for step in (30, 4, 100):
        checkpoint.save(tmp_path, TrainState(step=step), TENSORS, keep=9)
    (tmp_path / "step-00000200").mkdir()
    (tmp_path / ".step-00000300.tmp").mkdir()
    (tmp_path / ".step-00000300.tmp" / "state.json").write_text("{}")
    assert [path.name for path in checkpoint.complete(tmp_path)] == ["step-00000004", "step-00000030", "step-00000100"]


def test_the_same_step_again_replaces(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, TrainState(step=1, tokens=1), TENSORS, keep=2)
    path = checkpoint.save(tmp_path, TrainState(step=1, tokens=2), TENSORS, keep=2)
    assert checkpoint.load_state(path).tokens == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_newest_is_passed_over_and_training_ends_with_the_same_bits(
    tiny_bert: Path, tmp_path: Path, file: str, damage: str
) -> None:
    changes = {"epochs": 1.0, "checkpoint_every_steps": 2, "keep_checkpoints": 1}
    expected = hash_of(train_to_end(tiny_bert, tmp_path / "whole", **changes))
    fit = made_fit(made_run(tiny_bert, tmp_path, **{**changes, "keep_checkpoints": 2}), tmp_path)
    list(loop.fit(fit))
    newest = fit.checkpoints / "step-00000006"
    if damage == "gone":
        (newest / file).unlink()
    else:
        os.truncate(newest / file, 0 if damage == "empty" else (newest / file).stat().st_size // 2)
    (fit.checkpoints / ".step-00000009.tmp").mkdir()
    again = made_fit(made_run(tiny_bert, tmp_path, **changes), tmp_path)
    assert loop.resume(again) == 4
    assert not (fit.checkpoints / ".step-00000009.tmp").exists()
    list(loop.fit(again))
    assert hash_of(again) == expected
    assert [path.name for path in checkpoint.complete(fit.checkpoints)] == ["step-00000006"]


def test_where_none_is_readable_it_starts_anew(tiny_bert: Path, tmp_path: Path) -> None:
    fit = made_fit(made_run(tiny_bert, tmp_path), tmp_path)
    fit.state.step = 2
    os.truncate(loop.save(fit) / "state.safetensors", 10)
    fresh = made_fit(made_run(tiny_bert, tmp_path), tmp_path)
    assert loop.resume(fresh) is None
    assert fresh.state.step == 0


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = checkpoint.save(tmp_path, TrainState(step=1), TENSORS, keep=1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(ResourceError, match="no space left") as caught:
        checkpoint.save(tmp_path, TrainState(step=2), TENSORS, keep=1)
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == [good.name]
    assert checkpoint.load(good)[0].step == 1


def test_safetensors_own_errors_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(message: str) -> None:
        def save_file(*_: object) -> None:
            raise checkpoint.SafetensorError(message)

        monkeypatch.setattr(checkpoint, "save_file", save_file)

    fail("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(ResourceError):
        checkpoint.save_tensors(tmp_path / "a", TENSORS)
    fail("Error while serializing: InvalidOffset")
    with pytest.raises(RunDirectoryError, match="InvalidOffset"):
        checkpoint.save_tensors(tmp_path / "a", TENSORS)


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
def test_a_damaged_newer_one_never_pushes_out_a_good_one(tiny_bert: Path, tmp_path: Path, file: str) -> None:
    changes = {"epochs": 1.0, "checkpoint_every_steps": 2}
    fit = made_fit(made_run(tiny_bert, tmp_path, keep_checkpoints=3, **changes), tmp_path)
    list(loop.fit(fit))
    for step in (4, 6):
        os.truncate(fit.checkpoints / f"step-{step:08d}" / file, 5)
    again = made_fit(made_run(tiny_bert, tmp_path, keep_checkpoints=1, **changes), tmp_path)
    assert loop.resume(again) == 2
    for event in loop.fit(again):
        if type(event).__name__ == "CheckpointSaved":
            break
    last = made_fit(made_run(tiny_bert, tmp_path, keep_checkpoints=1, **changes), tmp_path)
    assert loop.resume(last) == 4
