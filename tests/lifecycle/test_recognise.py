"""The task that is found by the rows has to offer what was asked for, like one that was named."""

from __future__ import annotations

import pytest

from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.recognise import with_task


def test_options_that_the_found_task_does_not_offer_are_refused() -> None:
    config = RunConfig.model_validate({"training": {"regularisation": {"mixup": 0.3}}})
    said: list[str] = []
    assert with_task(config, set(), "single_label", said.append).task.type == "text_classification"
    with pytest.raises(ConfigError, match="regression does not offer mixup"):
        with_task(config, set(), "values", said.append)
    assert with_task(RunConfig(), set(), "values", said.append).task.type == "regression"
