"""What every part of the configuration shares: frozen, unknown keys refused, the docstring of a field is its help.

Knows no field. An open union is a field whose ``type`` names a module; that module's ``CONFIG`` validates the rest.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from feinschliff import registry


class Config(BaseModel):
    """Base of all configuration classes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class TypedConfig(Config):
    """Base of a member of an open union: its module is found by ``type``."""

    type: str
    """Name of the module: see ``feinschliff.registry.names``."""


def resolve(kind: registry.Kind, value: Any) -> Any:
    """A mapping with ``type`` becomes the ``CONFIG`` of the module it names; anything else passes through.

    Raises:
        ConfigError: no module has that name.
    """
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return value
    config: type[TypedConfig] = registry.load(kind, value["type"]).CONFIG
    return config.model_validate(value)
