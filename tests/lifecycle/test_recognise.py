"""The task that is found by the rows has to offer what was asked for, like one that was named."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.config.load import load_run_config
from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.recipes import given_fields
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


def test_images_need_a_model_that_reads_images_and_is_named() -> None:
    images, said = columns("single_label", image="image"), list[str]()
    with pytest.raises(ConfigError, match="no model that reads images was named"):
        with_task(RunConfig(), set(), images, said.append)
    named = RunConfig.model_validate({"model": {"source": "path/of/an/image/model"}})
    assert with_task(named, {"model.source"}, images, said.append).task.type == "image_classification"
    with pytest.raises(ConfigError, match="cannot read rows that are images"):
        with_task(named, {"model.source", "task.type"}, images, said.append)


def test_a_model_that_writes_says_what_the_rows_are(tiny_bart: Path, tiny_bert: Path) -> None:
    for folder, rows in ((tiny_bart, "texts"), (tiny_bert, "auto")):
        config = RunConfig.model_validate({"model": {"source": str(folder)}})
        assert with_rows(config, {"model.source"}).data.rows == rows
    assert (
        with_rows(RunConfig.model_validate({"model": {"source": "hf:nobody/nothing"}}), {"model.source"}).data.rows
        == "auto"
    )


def test_texts_to_be_written_need_a_model_that_writes() -> None:
    said: list[str] = []
    with pytest.raises(ConfigError, match="no model that writes was named") as caught:
        with_task(RunConfig(), set(), columns("texts"), said.append)
    assert "t5-small" in str(caught.value)
    config = with_task(RunConfig(), {"model.source"}, columns("texts"), said.append)
    assert config.task.type == "sequence_to_sequence"


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


@pytest.mark.parametrize(
    "options",
    [
        ["--task", "sft"],
        ["--task", "sft", "--task.long-rows", "cut"],
        ["--task", "sft", "--method.type", "lora", "--method.quantization", "nf4"],
    ],
)
@pytest.mark.parametrize(("name", "rows"), [("a.md", "documents"), ("a.txt", "documents"), ("a.csv", "conversations")])
def test_files_say_which_rows_a_task_of_two_kinds_reads(
    tmp_path: Path, name: str, rows: str, options: list[str]
) -> None:
    text = "prompt,completion\nwhat is it?,a parcel for you\n" if name.endswith(".csv") else "a page\n\nof words\n"
    (tmp_path / name).write_text(text, encoding="utf-8")
    config, origins = load_run_config(None, ["--data.train", str(tmp_path / name), *options])
    assert with_rows(config, given_fields(origins)).data.rows == rows
