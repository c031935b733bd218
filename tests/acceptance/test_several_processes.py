"""Two processes that torchrun started train the run that one process trains, to rounding; also stopped and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from torch import distributed

from tests.acceptance.walk import GOOD

OPTIONS = ("--training.precision", "fp32", "--training.num-threads", "1", "--training.global-batch-rows", "5")
LONG = ("--training.epochs", "40", "--training.checkpoint-every-steps", "4")

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch was built without gloo")


def command(processes: int, *given: str) -> list[str]:
    run = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *run, "-m", "feinschliff", *given]


def train(folder: Path, model: Path, output: str, processes: int, *given: str) -> subprocess.Popen[str]:
    (folder / "good.csv").write_text(GOOD, encoding="utf-8")
    arguments = ["train", "good.csv", "--model", str(model), "--output-dir", output, *OPTIONS, *given]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        command(processes, *arguments), cwd=folder, env=environment, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip


def losses(folder: Path, output: str) -> list[tuple[float, float | None]]:
    curve = json.loads((folder / output / "training.json").read_text(encoding="utf-8"))["curve"]
    return [(point["train_loss"], point["validation_loss"]) for point in curve]


def finished(process: subprocess.Popen[str]) -> str:
    out, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return out


def test_two_processes_train_as_one_does(desk: Path, tiny_bert: Path) -> None:
    finished(train(desk, tiny_bert, "runs/one", 1, *LONG))
    said = finished(train(desk, tiny_bert, "runs/two", 2, *LONG))
    assert said.count("trained full") == 1  # one of them prints
    one, two = losses(desk, "runs/one"), losses(desk, "runs/two")
    assert len(one) == len(two)
    for (alone, judged), (together, judged_too) in zip(one, two, strict=True):
        assert together == pytest.approx(alone, abs=2e-4)
        assert judged_too == (None if judged is None else pytest.approx(judged, abs=2e-4))


def test_stopped_by_two_and_finished_by_one(desk: Path, tiny_bert: Path) -> None:
    expected = train(desk, tiny_bert, "runs/alone", 1, *LONG)
    finished(expected)
    process = train(desk, tiny_bert, "runs/both", 2, *LONG)
    checkpoints = desk / "runs" / "both" / "checkpoints"
    for _ in range(2400):
        if process.poll() is not None or any(checkpoints.glob("step-*")):
            break
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[1]
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.wait()
    assert not (desk / "runs" / "both" / "training.json").exists()
    finished(train(desk, tiny_bert, "runs/both", 1, *LONG))
    resumed = json.loads((desk / "runs" / "both" / "training.json").read_text(encoding="utf-8"))
    assert resumed["resumed_from_step"]
    assert losses(desk, "runs/both")[-1][0] == pytest.approx(losses(desk, "runs/alone")[-1][0], abs=2e-4)


def test_what_works_in_one_process_says_so(desk: Path, tiny_bert: Path) -> None:
    (desk / "good.csv").write_text(GOOD, encoding="utf-8")
    done = subprocess.run(
        command(2, "tune", "good.csv", "--model", str(tiny_bert)),
        cwd=desk,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode != 0
    assert "tune works in one process, and torchrun started 2" in done.stderr
