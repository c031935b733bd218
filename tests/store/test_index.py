"""The index of runs: how a run's state is written, read, and seen through when its process is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feinschliff.errors import RunDirectoryError
from feinschliff.store.index import find_runs, finish_run, read_run, start_run
from feinschliff.store.run_directory import RunDirectory, read_json, write_json


def _run(path: Path, **facts: object) -> RunDirectory:
    run = RunDirectory(path)
    start_run(run, "train", facts)
    return run


def test_a_run_runs_then_finishes_with_its_facts(tmp_path: Path) -> None:
    run = _run(tmp_path / "a", rows=12)
    assert read_run(run.path).status == "running"
    finish_run(run, "finished", {"metric": "accuracy", "value": 0.9, "seconds": 3.5})
    record = read_run(run.path)
    assert (record.status, record.verb, record.resumable) == ("finished", "train", False)
    assert dict(record.facts) == {"rows": 12, "metric": "accuracy", "value": 0.9, "seconds": 3.5}


def test_a_killed_process_leaves_an_interrupted_run(tmp_path: Path) -> None:
    code = f"""
import os, signal
from feinschliff.store.index import start_run
from feinschliff.store.run_directory import RunDirectory
start_run(RunDirectory({str(tmp_path / "a")!r}), "train")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert read_json(tmp_path / "a" / "run.json")["status"] == "running"
    record = read_run(tmp_path / "a")
    assert (record.status, record.resumable) == ("interrupted", True)


def test_a_pid_given_to_another_process_is_not_the_run(tmp_path: Path) -> None:
    run = _run(tmp_path / "a")
    write_json(run.state, {**read_json(run.state), "process_started": 1.0})
    assert read_json(run.state)["pid"] == os.getpid()
    assert read_run(run.path).status == "interrupted"


def test_another_machines_process_is_believed(tmp_path: Path) -> None:
    run = _run(tmp_path / "a")
    write_json(run.state, {**read_json(run.state), "host": "elsewhere", "pid": 1})
    assert read_run(run.path).status == "running"


def test_a_resumed_run_keeps_its_first_start(tmp_path: Path) -> None:
    run = _run(tmp_path / "a")
    write_json(run.state, {**read_json(run.state), "started": "2020-01-01T00:00:00+00:00"})
    finish_run(run, "interrupted")
    start_run(run, "train")
    assert read_run(run.path).started == "2020-01-01T00:00:00+00:00"
    assert read_run(run.path).status == "running"


@pytest.mark.parametrize("content", ["{", "[1]", '{"status": "odd"}', ""])
def test_a_damaged_state_is_listed_not_hidden(tmp_path: Path, content: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text(content, encoding="utf-8")
    (record,) = find_runs(tmp_path)
    assert record.status == "unreadable"


def test_runs_are_found_at_any_depth_but_not_within_runs(tmp_path: Path) -> None:
    for name, started in {"a": "2026-01-01", "deep/b": "2026-01-03", "c": "2026-01-02"}.items():
        run = _run(tmp_path / name)
        write_json(run.state, {**read_json(run.state), "started": started})
    _run(tmp_path / "a" / "trials" / "x")
    _run(tmp_path / ".hidden" / "y")
    assert [record.path.name for record in find_runs(tmp_path)] == ["b", "c", "a"]


def test_the_folder_itself_may_be_a_run(tmp_path: Path) -> None:
    _run(tmp_path)
    assert [record.path for record in find_runs(tmp_path)] == [tmp_path]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="is not a run"):
        read_run(tmp_path)
