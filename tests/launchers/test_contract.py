"""What every launcher promises, with a script in the place of `feinschliff train`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from feinschliff import registry
from feinschliff.errors import InputError
from feinschliff.launchers import local
from feinschliff.launchers._protocol import Cursor, Job, JobHandle, Launcher

Submit = Callable[[str], tuple[Launcher, JobHandle, Job]]
_WORK = """
import sys, time
from pathlib import Path
from feinschliff.store.index import finish_run, start_run
from feinschliff.store.run_directory import RunDirectory
run, mode = RunDirectory(Path(sys.argv[1])), sys.argv[2]
print("started", flush=True)
if mode == "wrong-input":
    sys.exit(2)
start_run(run, "train")
if mode == "slow":
    time.sleep(60)
finish_run(run, "failed" if mode == "fails" else "finished")
print("done", flush=True)
"""


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Submit]:
    """Submit a job that does nothing but behave in a certain way."""
    handles = []

    def start(mode: str) -> tuple[Launcher, JobHandle, Job]:
        run = tmp_path / "runs" / "a"
        monkeypatch.setattr(local, "command", lambda job: [sys.executable, "-c", _WORK, str(job.run), mode])
        launcher = registry.load("launcher", "local").create(local.CONFIG())
        job = Job("key", tmp_path / "config.json", run)
        handles.append((launcher, launcher.submit(job)))
        return launcher, handles[-1][1], job

    yield start
    for launcher, handle in handles:
        launcher.stop(handle, 0.1)


def _wait(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("did not happen within half a minute")


def test_a_job_runs_and_finishes_and_its_log_can_be_followed(submit: Submit) -> None:
    launcher, handle, _ = submit("quick")
    _wait(lambda: launcher.status(handle) != "running")
    assert launcher.status(handle) == "finished"
    lines, cursor = launcher.logs(handle, Cursor())
    assert lines == ["started", "done"]
    assert launcher.logs(handle, cursor) == ([], cursor)


def test_submitting_again_starts_nothing_while_it_runs_or_has_finished(
    submit: Submit,
) -> None:
    launcher, handle, job = submit("slow")
    assert launcher.submit(job) == handle
    children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    assert len(children) == 1
    launcher.stop(handle, 5)


def test_a_finished_job_is_not_run_again(submit: Submit) -> None:
    launcher, handle, job = submit("quick")
    _wait(lambda: launcher.status(handle) == "finished")
    launcher.submit(job)
    assert launcher.logs(handle, Cursor())[0] == ["started", "done"]


def test_a_stopped_job_is_stopped_and_can_be_submitted_again(
    submit: Submit,
) -> None:
    launcher, handle, _ = submit("slow")
    _wait(lambda: (handle.run / "run.json").is_file())
    launcher.stop(handle, 5)
    assert launcher.status(handle) == "stopped"
    submit("quick")
    _wait(lambda: launcher.status(handle) == "finished")


@pytest.mark.parametrize("mode", ["wrong-input", "fails"])
def test_a_failed_job_says_so(submit: Submit, mode: str) -> None:
    launcher, handle, _ = submit(mode)
    _wait(lambda: launcher.status(handle) != "running")
    assert launcher.status(handle) == "failed"


def test_another_key_for_the_same_run_is_refused(submit: Submit) -> None:
    launcher, handle, job = submit("quick")
    _wait(lambda: launcher.status(handle) == "finished")
    with pytest.raises(InputError, match="belongs to job 'key'"):
        launcher.submit(Job("other", job.config, job.run))


def test_fetch_brings_the_run(submit: Submit, tmp_path: Path) -> None:
    launcher, handle, _ = submit("quick")
    _wait(lambda: launcher.status(handle) == "finished")
    launcher.fetch(handle, tmp_path / "fetched")
    assert (tmp_path / "fetched" / "run.json").is_file()
    launcher.fetch(handle, handle.run)


def test_the_command_is_the_train_verb() -> None:
    assert local.command(Job("k", Path("c.json"), Path("r")))[1:] == [
        "-m",
        "feinschliff",
        "train",
        "--config",
        "c.json",
    ]
