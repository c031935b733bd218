"""The task that is found by the rows has to offer what was asked for, like one that was named."""

from __future__ import annotations

import pytest

from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.recognise import with_task
from feinschliff.results.data import ColumnsFound, Kind


def columns(kind: Kind, image: str | None = None) -> ColumnsFound:
    return ColumnsFound(text=["text"], target="target", kind=kind, image=image)


def test_options_that_the_found_task_does_not_offer_are_refused() -> None:
    config = RunConfig.model_validate({"training": {"regularisation": {"mixup": 0.3}}})
    said: list[str] = []
    assert with_task(config, set(), columns("single_label"), said.append).task.type == "text_classification"
    with pytest.raises(ConfigError, match="regression does not offer mixup"):
        with_task(config, set(), columns("values"), said.append)
    assert with_task(RunConfig(), set(), columns("values"), said.append).task.type == "regression"


def test_images_need_a_model_that_reads_images_and_is_named() -> None:
    images, said = columns("single_label", image="image"), list[str]()
    with pytest.raises(ConfigError, match="no image model was named"):
        with_task(RunConfig(), set(), images, said.append)
    named = RunConfig.model_validate({"model": {"source": "path/of/an/image/model"}})
    assert with_task(named, {"model.source"}, images, said.append).task.type == "image_classification"
    with pytest.raises(ConfigError, match="cannot read rows that are images"):
        with_task(named, {"model.source", "task.type"}, images, said.append)
