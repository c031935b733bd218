"""Parameters and layers chosen by regular expressions over their names. Knows no method and no architecture."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from feinschliff.errors import ConfigError

MOST_NAMES = 30
"""Names listed in an error; after numbers are left out there are seldom more."""


def expression(text: str) -> str:
    """The text itself.

    Raises:
        ValueError: it is no regular expression.
    """
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
    return text


Expression = Annotated[str, AfterValidator(expression)]
"""A regular expression, refused where it is none; it is searched for anywhere in a name."""


def found(pattern: str, names: Iterable[str], where: str) -> list[str]:
    """The names in which the regular expression is found, in their order.

    Raises:
        ConfigError: it is found in none; what exists is listed.
    """
    names = list(names)
    chosen = [name for name in names if re.search(pattern, name)]
    if not chosen:
        raise ConfigError(
            f"{pattern!r} is found in no name", where=where, remedy=f"names that exist: {', '.join(kinds(names))}"
        )
    return chosen


def kinds(names: Iterable[str]) -> list[str]:
    """Names with ``N`` in the place of numbers, each once, sorted: what a model of many equal layers is made of."""
    known = sorted({re.sub(r"(?<=\.)\d+(?=\.|$)", "N", name) for name in names})
    return [*known[:MOST_NAMES], "..."] if len(known) > MOST_NAMES else known


def listed(parts: Iterable[str]) -> str:
    """``a, b and c``."""
    parts = list(parts)
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
