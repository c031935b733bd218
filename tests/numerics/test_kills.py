"""Processes that are killed, interrupted, refused or out of disk: nothing is lost, and the bits are the same."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.kills import Command, Setting, finish, hashes_of, killed_run, wait_for, write_rows
from feinschliff.engine import checkpoint

pytestmark = pytest.mark.slow
OPTIONS = ("--training.max-steps", "24", "--training.evaluations-per-epoch", "2", "--training.precision", "bf16")
NO_EARLY_STOP = ("--training.early-stopping-patience", "none")


@pytest.fixture(scope="module")
def setting(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """Rows, model and options that all runs here share."""
    folder = tmp_path_factory.mktemp("kills")
    write_rows(folder, 300)
    return Setting(folder, tiny_bert, (*OPTIONS, *NO_EARLY_STOP, "--model.dropout", "0.1"))


@pytest.fixture(scope="module")
def alone(setting: Setting) -> dict[str, str]:
    """Hashes of the run that nobody disturbs."""
    finish(setting, setting.folder / "alone")
    return hashes_of(setting.folder / "alone")


def wait_for_step(run: Path, command: Command, step: int) -> None:
    while not (run / "checkpoints" / f"step-{step:08d}").exists():
        assert command.alive(), command.log.read_text()
        time.sleep(0.002)


def test_three_kills_change_no_bit(setting: Setting, alone: dict[str, str]) -> None:
    run = setting.folder / "killed"
    trial = killed_run(setting, run, ["random", "checkpoint", "export"], random.Random(1), seconds=1.5)
    assert len(trial.killed_at) == 3, trial
    assert trial.resumed_from_step == 24, "the last kill came while the model was being written"
    assert trial.hashes == alone
    assert not (run / "checkpoints").exists()
    assert sorted(path.name for path in run.glob(".*")) == [".lock"]


def test_ctrl_c_ends_with_130_and_the_same_command_resumes(setting: Setting, alone: dict[str, str]) -> None:
    run = setting.folder / "stopped"
    command = Command(setting, run)
    wait_for_step(run, command, 4)
    command.send(signal.SIGINT)
    assert command.wait() == 130
    assert "Traceback" not in command.log.read_text()
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    finish(setting, run)
    assert hashes_of(run) == alone


def test_a_second_process_on_the_folder_is_refused(setting: Setting, alone: dict[str, str]) -> None:
    run = setting.folder / "shared"
    command = Command(setting, run)
    wait_for_step(run, command, 2)
    command.send(signal.SIGSTOP)  # it holds the folder and cannot finish meanwhile
    try:
        second = Command(setting, run)
        assert second.wait() == 2
        assert "is in use by another process" in command.log.read_text()
        assert "Traceback" not in command.log.read_text()
        assert json.loads((run / "run.json").read_text())["pid"] == command.pid
    finally:
        command.send(signal.SIGCONT)
    assert command.wait() == 0
    assert hashes_of(run) == alone


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; the test skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int) -> Path:
    """A file that leaves so much space."""
    space = os.statvfs(folder)
    file = folder / "filler"
    with file.open("ab") as out:
        out.write(b"x" * max(0, space.f_bavail * space.f_frsize - leave_bytes))
    return file


def test_a_full_disk_is_said_and_the_run_resumes(setting: Setting, alone: dict[str, str], small_disk: Path) -> None:
    run = small_disk / "run"
    command = Command(setting, run)
    assert command.wait() == 2, command.log.read_text()  # checkpoints of 0.4 MiB: the third finds no room
    said = command.log.read_text()
    assert "no space left on the disk" in said
    assert "start the same command again" in said
    assert "Traceback" not in said
    kept = checkpoint.complete(run / "checkpoints")
    assert kept
    checkpoint.load(kept[-1])
    assert list((run / "checkpoints").glob(".*")) == []
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    finish(setting, run)
    assert hashes_of(run) == alone


def test_a_disk_that_fills_up_at_export_is_said(setting: Setting, alone: dict[str, str], small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    run = small_disk / "run"
    command = Command(setting, run)
    assert wait_for(command, run, "export", random.Random(0), 60.0)
    command.send(signal.SIGKILL)
    command.wait()
    shutil.rmtree(run / ".model.tmp", ignore_errors=True)
    filler = fill(small_disk, leave_bytes=60_000)
    command = Command(setting, run)
    code, said = command.wait(), command.log.read_text()
    assert code == 2, said
    assert "no space left on the disk" in said
    assert "Traceback" not in said
    assert "unexpected" not in said
    assert not (run / "model").exists()
    filler.unlink()
    finish(setting, run)
    assert hashes_of(run) == alone


def test_a_limit_on_file_sizes_is_a_full_disk_too(setting: Setting) -> None:
    """Works without the right to mount: files above 100 kB cannot be written (EFBIG)."""
    arguments = setting.command(setting.folder / "limited")
    done = subprocess.run(
        [sys.executable, "-m", "feinschliff", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "no space left on the disk" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_process_killed_at_its_very_start_leaves_is_no_stranger(setting: Setting, alone: dict[str, str]) -> None:
    run = setting.folder / "barely-begun"
    run.mkdir()
    (run / ".lock").touch()
    (run / ".run.json.4711.tmp").write_text("{")
    finish(setting, run)
    assert hashes_of(run) == alone
