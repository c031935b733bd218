"""Whose a directory is: of the same configuration, also where this version has more fields than the run's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feinschliff.config.run import RunConfig
from feinschliff.errors import RunDirectoryError
from feinschliff.lifecycle.claims import claim, locked_for
from feinschliff.store.run_directory import RunDirectory


def test_a_run_that_was_begun_before_a_field_was_there_is_known_again(tmp_path: Path) -> None:
    config = RunConfig.model_validate({"data": {"train": ["rows.csv"]}, "output_dir": str(tmp_path)})
    directory = RunDirectory(tmp_path)
    claim(directory, config, [])
    asked = json.loads(directory.asked.read_text(encoding="utf-8"))
    del asked["training"]["compile"]
    directory.asked.write_text(json.dumps(asked), encoding="utf-8")
    (directory.checkpoints / "step-1").mkdir(parents=True)
    (directory.checkpoints / "step-1" / "state.json").write_text("{}", encoding="utf-8")
    assert directory.holds_work()
    with locked_for(directory, config, directory.training):
        pass
    other = config.model_copy(update={"training": config.training.model_copy(update={"compile": "on"})})
    with (
        pytest.raises(RunDirectoryError, match=r"training\.compile: auto there, on here"),
        locked_for(directory, other, directory.training),
    ):
        pass
