"""The verb `runs`: the list, and one run with its configuration and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.config.load import load_run_config, write_resolved
from feinschliff.errors import RunDirectoryError
from feinschliff.lifecycle.runs import list_runs, show_run
from feinschliff.store.index import finish_run, start_run
from feinschliff.store.run_directory import RunDirectory


def _finished(path: Path) -> RunDirectory:
    run = RunDirectory(path)
    start_run(run, "tune")
    finish_run(run, "finished", {"metric": "accuracy", "value": 0.9, "seconds": 3, "verdict": "ship"})
    return run


def test_the_list_shows_results_and_failures(tmp_path: Path) -> None:
    _finished(tmp_path / "a")
    failed = RunDirectory(tmp_path / "b")
    start_run(failed, "train")
    finish_run(failed, "failed", {"error": "no label column"})
    by_name = {Path(run.path).name: run for run in list_runs(tmp_path).runs}
    assert (by_name["a"].verdict, by_name["a"].metric, by_name["a"].value) == ("ship", "accuracy", 0.9)
    assert (by_name["b"].status, by_name["b"].why) == ("failed", "no label column")


def test_one_run_with_origins_and_files(tmp_path: Path) -> None:
    run = _finished(tmp_path / "a")
    write_resolved(run, *load_run_config(None, ["--seed", "3"]))
    details = show_run(run.path)
    assert {origin.field: origin.origin for origin in details.origins}["seed"] == "command line"
    assert details.files == {"configuration": str(run.config)}
    assert details.summary.verb == "tune"


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="there is no folder"):
        list_runs(tmp_path / "none")
