"""The task that is found by the rows has to offer what was asked for, like one that was named."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.recognise import with_rows, with_task
from feinschliff.results.data import ColumnsFound, Kind
from tests.models.tiny_keras import conv_net, saved, table_net


def columns(kind: Kind, **changes: object) -> ColumnsFound:
    return ColumnsFound.model_validate({"text": ["text"], "target": "label", "kind": kind, **changes})


def test_options_that_the_found_task_does_not_offer_are_refused() -> None:
    config = RunConfig.model_validate({"training": {"regularisation": {"mixup": 0.3}}})
    said: list[str] = []
    assert with_task(config, set(), columns("single_label"), said.append).task.type == "text_classification"
    with pytest.raises(ConfigError, match="regression does not offer mixup"):
        with_task(config, set(), columns("values"), said.append)
    assert with_task(RunConfig(), set(), columns("values"), said.append).task.type == "regression"


def test_a_keras_file_that_reads_numbers_says_so(tmp_path: Path) -> None:
    table, images = saved(table_net(), tmp_path / "table.keras"), saved(conv_net(), tmp_path / "images.keras")
    asked = {str(file): with_rows(RunConfig.model_validate({"model": {"source": str(file)}}), {"model.source"})
             for file in (table, images)}  # fmt: skip
    assert asked[str(table)].data.rows == "numbers"
    assert asked[str(images)].data.rows == "auto"
    named = RunConfig.model_validate({"model": {"source": str(table)}, "task": {"type": "text_classification"}})
    assert with_rows(named, {"model.source", "task.type"}).data.rows == "labels"
    assert with_rows(RunConfig(), set()).data.rows == "auto"


def test_rows_of_numbers_are_for_the_task_that_reads_them() -> None:
    rows = columns("single_label", text=[], numbers=["a", "b"])
    config = RunConfig.model_validate({"model": {"source": "net.keras"}})
    said: list[str] = []
    assert with_task(config, {"model.source"}, rows, said.append).task.type == "tabular_classification"
    with pytest.raises(ConfigError, match=r"path/model\.keras"):
        with_task(config, set(), rows, said.append)
    with pytest.raises(ConfigError, match="cannot read rows that are numbers"):
        with_task(config, {"model.source", "task.type"}, rows, said.append)
