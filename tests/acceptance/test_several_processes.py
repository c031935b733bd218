"""Two processes that torchrun started train the run that one process trains, to rounding; also stopped and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from torch import distributed

import feinschliff
from tests.acceptance.walk import GOOD

OPTIONS = ("--training.precision", "fp32", "--training.num-threads", "1", "--training.global-batch-rows", "5")
LONG = ("--training.epochs", "40", "--training.checkpoint-every-steps", "4")

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch was built without gloo")


def command(processes: int, *given: str) -> list[str]:
    run = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *run, "-m", "feinschliff", *given]


def train(folder: Path, model: Path, output: str, processes: int, *given: str) -> subprocess.Popen[str]:
    (folder / "good.csv").write_text(GOOD, encoding="utf-8")
    return start(folder, "good.csv", model, output, processes, *given)


def start(
    folder: Path, file: str, model: Path, output: str, processes: int, *given: str, group: bool = False
) -> subprocess.Popen[str]:
    arguments = ["train", file, "--model", str(model), "--output-dir", output, *OPTIONS, *given]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        command(processes, *arguments), cwd=folder, env=environment, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, start_new_session=group,
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


CHAT = ("--task", "sft", "--method.type", "lora", "--training.micro-batch-tokens", "32", "--training.epochs", "4")


def chats(folder: Path) -> str:
    rows = [
        {"messages": [{"role": "user", "content": f"{n} + {n}?"}, {"role": "assistant", "content": f"It is {2 * n}."}]}
        for n in range(40)
    ]
    (folder / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return "chats.jsonl"


@pytest.mark.slow
@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_two_processes_train_adapters_of_a_language_model_as_one_does(
    desk: Path, tiny_decoder: Path, parallelism: str
) -> None:
    given = (*CHAT, "--training.parallelism", parallelism, "--training.learning-rate", "0.01")
    finished(start(desk, chats(desk), tiny_decoder, "runs/one", 1, *given))
    finished(start(desk, chats(desk), tiny_decoder, "runs/two", 2, *given))
    one, two = losses(desk, "runs/one"), losses(desk, "runs/two")
    assert one[-1][0] < one[0][0] - 0.1, "it learns"
    assert [point[0] for point in two] == pytest.approx([point[0] for point in one], abs=2e-4)


def test_a_fault_is_one_document_whoever_finds_it(desk: Path, tiny_bert: Path) -> None:
    process = train(desk, tiny_bert, "runs/wrong", 2, "--training.precision", "fp8", "--json")
    out, said = process.communicate(timeout=240)
    assert process.returncode != 0
    assert json.loads(out)["error"]["exit_code"] == 2
    assert "process 0 of 2: error" in said


@pytest.mark.slow
def test_ctrl_c_stops_all_and_the_same_command_goes_on(desk: Path, tiny_decoder: Path) -> None:
    """As a terminal does it: every process of the group gets the signal."""
    given = (*CHAT[:-2], "--training.epochs", "24", "--training.checkpoint-every-steps", "10")
    finished(start(desk, chats(desk), tiny_decoder, "runs/alone", 2, *given))
    process = start(desk, chats(desk), tiny_decoder, "runs/two", 2, *given, group=True)
    wait_for_a_checkpoint(process, desk / "runs" / "two")
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (desk / "runs" / "two" / "training.json").exists()
    assert "interrupted: " in said
    assert f'File "{Path(feinschliff.__file__).parent}' not in said, "the traceback behind it is torchrun's own"
    finished(start(desk, chats(desk), tiny_decoder, "runs/two", 2, *given))
    resumed = json.loads((desk / "runs" / "two" / "training.json").read_text(encoding="utf-8"))
    assert resumed["resumed_from_step"]
    assert losses(desk, "runs/two") == losses(desk, "runs/alone")


def wait_for_a_checkpoint(process: subprocess.Popen[str], run: Path) -> None:
    for _ in range(2400):
        if process.poll() is not None or any((run / "checkpoints").glob("step-*")):
            break
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[1]


def killed_after_a_checkpoint(process: subprocess.Popen[str], run: Path) -> None:
    wait_for_a_checkpoint(process, run)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.wait()
    assert not (run / "training.json").exists()


def test_stopped_by_two_and_finished_by_one(desk: Path, tiny_bert: Path) -> None:
    expected = train(desk, tiny_bert, "runs/alone", 1, *LONG)
    finished(expected)
    process = train(desk, tiny_bert, "runs/both", 2, *LONG)
    killed_after_a_checkpoint(process, desk / "runs" / "both")
    finished(train(desk, tiny_bert, "runs/both", 1, *LONG))
    resumed = json.loads((desk / "runs" / "both" / "training.json").read_text(encoding="utf-8"))
    assert resumed["resumed_from_step"]
    assert losses(desk, "runs/both")[-1][0] == pytest.approx(losses(desk, "runs/alone")[-1][0], abs=2e-4)


@pytest.mark.slow
def test_weights_divided_over_two_processes_are_finished_by_one_and_by_three(desk: Path, tiny_decoder: Path) -> None:
    chats(desk)
    uneven = ("--training.micro-batch-tokens", "32")  # of five rows a step one process makes more passes than another
    given = ["--task", "sft", "--method", "full", "--training.parallelism", "fsdp", *LONG[2:], "--training.epochs", "8"]
    given += uneven
    finished(start(desk, "chats.jsonl", tiny_decoder, "runs/alone", 1, *given))
    process = start(desk, "chats.jsonl", tiny_decoder, "runs/two", 2, *given)
    killed_after_a_checkpoint(process, desk / "runs" / "two")
    kept = sorted((desk / "runs" / "two" / "checkpoints").glob("step-*"))[-1]
    assert {file.name for file in (kept / "state.dcp").iterdir()} == {".metadata", "__0_0.distcp", "__1_0.distcp"}
    shutil.copytree(desk / "runs" / "two", desk / "kept")
    for processes in (1, 3):
        shutil.rmtree(desk / "runs" / "two")
        shutil.copytree(desk / "kept", desk / "runs" / "two")
        finished(start(desk, "chats.jsonl", tiny_decoder, "runs/two", processes, *given))
        resumed = json.loads((desk / "runs" / "two" / "training.json").read_text(encoding="utf-8"))
        assert resumed["resumed_from_step"]
        found, expected = losses(desk, "runs/two"), losses(desk, "runs/alone")
        assert [point[0] for point in found] == pytest.approx([point[0] for point in expected], abs=2e-4)


@pytest.mark.parametrize("verb", ["tune", "predict"])
def test_what_works_in_one_process_says_so(desk: Path, tiny_bert: Path, verb: str) -> None:
    (desk / "good.csv").write_text(GOOD, encoding="utf-8")
    done = subprocess.run(
        command(2, verb, "good.csv", "--model", str(tiny_bert)),
        cwd=desk,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode != 0
    assert f"{verb} works in one process, and torchrun started 2" in done.stderr
