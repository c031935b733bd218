"""Ctrl-C at any time: exit code 130, one document with ``--json``, and the same command goes on to the same end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feinschliff.errors import Interrupted
from tests.acceptance.walk import (
    COMMAND,
    Outcome,
    assert_no_traceback,
    call,
    child_environment,
    contents,
    rows,
    table,
)

Train = Callable[..., list[str]]
Capture = pytest.CaptureFixture[str]
LONG = ("--training.max-steps", "300", "--training.early-stopping-patience", "none")


def _interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "place",
    [
        "feinschliff.lifecycle.train.load_splits",
        "feinschliff.lifecycle.train.resolve_model",
        "feinschliff.lifecycle.train.prepare",
        "feinschliff.engine.preflight.check",
        "feinschliff.lifecycle.finish.export_best",
    ],
)
@pytest.mark.parametrize("verb", ["train", "tune"])
def test_wherever_it_is(
    place: str, verb: str, desk: Path, good: Path, train: Train, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [verb, *train("good.csv")[1:]]
    before = good.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(place, _interrupt)
        assert_stopped(call(capsys, *command))
    listed = call(capsys, "runs", "list", "--json").document["runs"]
    assert [run["status"] for run in listed if run["path"] == "runs/new"] == ["interrupted"]
    again = call(capsys, *command)
    assert again.code in (0, 1), again.err
    assert_no_traceback(again)
    assert (desk / "runs" / "new" / "model" / "model.safetensors").exists()
    assert good.read_bytes() == before


@pytest.mark.parametrize("verb", [("evaluate", "runs/finished"), ("predict", "runs/finished", "where is it")])
def test_a_finished_run_stays_as_it_is(
    verb: tuple[str, ...], finished: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(finished)
    monkeypatch.setattr("feinschliff.predictor.Predictor.score", _interrupt)
    assert_stopped(call(capsys, *verb, "--json"))
    assert contents(finished) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_before_the_first_step_it_stops_at_once(
    number: signal.Signals, desk: Path, train: Train, capsys: Capture
) -> None:
    (desk / "large.csv").write_text(table(rows(4000)), encoding="utf-8")
    outcome = _stop(desk, [*train("large.csv"), *LONG], "training, ", number)
    assert_stopped(outcome)
    assert "step " not in outcome.err
    assert not list((desk / "runs" / "new").rglob("*.safetensors"))


@pytest.mark.slow
def test_in_the_loop_it_saves_and_the_same_command_ends_with_the_same_bits(
    desk: Path, good: Path, train: Train, capsys: Capture
) -> None:
    stopped = _stop(desk, [*train("good.csv", epochs=300), *LONG], "epoch 1.0", signal.SIGINT)
    assert_stopped(stopped)
    assert list((desk / "runs" / "new" / "checkpoints").glob("step-*"))
    resumed = call(capsys, *train("good.csv", epochs=300), *LONG)
    assert resumed.code == 0, resumed.err
    assert resumed.document["resumed_from_step"] > 0
    straight = call(capsys, *train("good.csv", epochs=300, output_dir="runs/straight"), *LONG)
    assert straight.document["steps"] == resumed.document["steps"] == 300
    assert straight.document["weights_sha256"] == resumed.document["weights_sha256"]


def assert_stopped(outcome: Outcome) -> None:
    """130, and how to go on, in words and in the one document."""
    assert outcome.code == Interrupted.exit_code, outcome
    assert "interrupted: " in outcome.err
    assert "the same command again" in outcome.err
    assert json.loads(outcome.out)["error"]["exit_code"] == 130
    assert_no_traceback(outcome)


def _stop(cwd: Path, arguments: list[str], line: str, number: signal.Signals) -> Outcome:
    """Start a command, send a signal once its progress says ``line``."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    for said_line in process.stderr:
        said.append(said_line)
        if line in said_line:
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, "".join(said) + err)
