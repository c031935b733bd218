"""Options of how a language model chooses its words, shared by verbs that let it write. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError

from feinschliff.config.generation import SamplingConfig, WritingPrecision
from feinschliff.errors import ConfigError, Fault

Temperature = Annotated[float | None, typer.Option(help="0: always the likeliest token (default); 1: as it is.")]
TopP = Annotated[float | None, typer.Option(help="Choose among the likeliest tokens of this probability.")]
TopK = Annotated[int | None, typer.Option(help="Choose among so many likeliest tokens.")]
MinP = Annotated[float | None, typer.Option(help="Choose among tokens with this share of the likeliest's probability.")]
RepetitionPenalty = Annotated[
    float | None, typer.Option(help="Above 1: tokens of prompt and answer become less likely; 1: as it is (default).")
]
MaxNewTokens = Annotated[int | None, typer.Option(help="Longest answer, in tokens; default: the run's own.")]
Stop = Annotated[list[str] | None, typer.Option(help="End the answer before this text; may be given again.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same answers; default: 0.")]
JsonSchema = Annotated[
    str | None, typer.Option(help="A file: only JSON that fits this schema is written; --max-new-tokens may cut it.")
]

Precision = Annotated[
    str | None,
    typer.Option(help="fp32: as the weights are saved; bf16: shorter numbers; auto (default): the faster of the two."),
]


_OURS = "Value error, "
"""What pydantic puts before our own words."""


def precision_of(given: str | None) -> WritingPrecision:
    """What a language model is to compute in.

    Raises:
        ConfigError: it is none of the three.
    """
    for known in get_args(WritingPrecision):
        if (given or "auto") == known:
            found: WritingPrecision = known
            return found
    remedy = f"one of: {', '.join(get_args(WritingPrecision))}"
    raise ConfigError(f"there is no precision {given!r}", where="--precision", remedy=remedy)


def sampling_of(given: Mapping[str, Any]) -> SamplingConfig:
    """What was given, the rest as it is.

    Raises:
        ConfigError: values out of range, all of them.
    """
    values = {name: value for name, value in given.items() if value is not None}
    try:
        return SamplingConfig(**values)
    except ValidationError as error:
        raise ConfigError(
            [
                Fault(
                    f"{fault['msg'].removeprefix(_OURS)}: {fault['input']!r}",
                    "--" + "-".join(map(str, fault["loc"])).replace("_", "-"),
                )
                for fault in error.errors()
            ]
        ) from error


def given_sampling(given: Mapping[str, Any]) -> SamplingConfig | None:
    """The same; None where nothing was given."""
    return sampling_of(given) if any(value is not None for value in given.values()) else None
