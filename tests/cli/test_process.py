"""The command line as a process: pipes, signals, completion, and what a stopped run says."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from feinschliff import settings
from tests.conftest import REPOSITORY

COMMAND = [sys.executable, "-m", "feinschliff"]


def _environment(**changes: str) -> dict[str, str]:
    return settings.child_environment(PYTHONPATH=str(REPOSITORY), OMP_NUM_THREADS="1", **changes)


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=_environment(), capture_output=True, text=True, check=False
    )


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m feinschliff --help | true"
    done = subprocess.run(
        ["bash", "-c", shell], cwd=tmp_path, env=_environment(), capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_plain_in_a_pipe(tmp_path: Path) -> None:
    done = _run("tun", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert done.stderr.startswith("error: command line: unknown verb 'tun'\n  do:  did you mean `feinschliff tune`?")


def test_json_of_an_error_is_one_document(tmp_path: Path) -> None:
    done = _run("evaluate", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["exit_code"] == 2


def test_the_shell_completes_verbs(tmp_path: Path) -> None:
    environment = _environment(_FEINSCHLIFF_COMPLETE="complete_bash", COMP_WORDS="feinschliff tr", COMP_CWORD="1")
    done = subprocess.run(COMMAND, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["train"]


def _tickets(file: Path) -> None:
    rng = random.Random(0)
    kinds = {"delivery": "parcel delivery late lost", "money": "refund money account transfer"}
    filler = [
        "the",
        "my",
        "please",
        "help",
        "when",
        "new",
        "old",
        "day",
        "night",
        "work",
        "home",
        "city",
        "car",
        "train",
    ]
    with file.open("w", encoding="utf-8") as out:
        out.write("text,label\n")
        for _ in range(400):
            label = rng.choice(sorted(kinds))
            out.write(f"{' '.join([rng.choice(kinds[label].split()), *rng.choices(filler, k=8)])},{label}\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_stopped_run_says_that_it_resumes_and_does(tmp_path: Path, tiny_bert: Path, number: signal.Signals) -> None:
    _tickets(tmp_path / "tickets.csv")
    arguments = [
        "train",
        "tickets.csv",
        "--model",
        str(tiny_bert),
        "--output-dir",
        "runs/a",
        "--training.epochs",
        "300",
    ]
    arguments += ["--training.early-stopping-patience", "none", "--training.max-steps", "400"]
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step "):
            break
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert "interrupted: " in said
    assert "the same command again" in said
    assert "Traceback" not in said
    listed = json.loads(_run("runs", "list", "--json", cwd=tmp_path).stdout)["runs"]
    assert [run["status"] for run in listed] == ["interrupted"]
    again = _run(*arguments, "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    assert result["steps"] == 400
    assert result["resumed_from_step"] is not None
