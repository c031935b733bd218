"""What `data`, `evaluate` and `predict` share on the command line: how a file is read, where that is not to be found.

Turns what was typed into a `DataConfig`; knows no verb's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from feinschliff.config.data import DataConfig
from feinschliff.errors import ConfigError, Fault

Encoding = Annotated[str | None, typer.Option("--encoding", help="Text encoding; found where not given.")]
Delimiter = Annotated[str | None, typer.Option("--delimiter", help="Of csv and tsv; found where not given.")]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line of csv and tsv names the columns; found."),
]
Separator = Annotated[str | None, typer.Option("--label-separator", help="Between several labels of one cell.")]


def data_config(given: Mapping[str, Any]) -> DataConfig:
    """The configuration of what was given (None and empty: not given); the rest are defaults.

    Raises:
        ConfigError: a value is out of range; all such values at once.
    """
    values = {name: value for name, value in given.items() if value is not None and value != []}
    if "header" in values:
        values["header"] = "yes" if values["header"] else "no"
    try:
        return DataConfig.model_validate({**values, "train": tuple(given.get("train", ()))})
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            option = "--" + "-".join(str(fault["loc"][0]).split("_"))
            what = f"{fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
            faults.append(Fault(what, option, remedy="give a value within these limits"))
        raise ConfigError(faults) from error
