"""The fields of a run by their dotted path: which exist, which type they have, how text becomes a value and back.

Reads the configuration classes; knows no file and no command line.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from feinschliff import registry
from feinschliff.config.bases import Config, TypedConfig
from feinschliff.config.run import RunConfig

UNIONS: tuple[registry.Kind, ...] = ("task", "method", "launcher")
"""The open unions of `RunConfig`: the field's name is the registry's kind."""

SHORT_NAMES = {
    "target": "data.target",
    "text": "data.text",
    "group": "data.group",
    "time": "data.time",
    "validation": "data.validation",
    "test": "data.test",
    "redact": "data.redact",
    "model": "model.source",
    "method": "method",
    "task": "task",
    "launcher": "launcher",
    "seed": "seed",
    "output_dir": "output_dir",
}
"""Names a verb takes directly (``--target``, ``target=``) and the field each of them sets."""


@dataclass(frozen=True, slots=True)
class Field:
    """One value that can be set: its dotted path and pydantic's description."""

    path: str
    info: FieldInfo

    @property
    def takes_several(self) -> bool:
        """Whether the value is a tuple."""
        return any(get_origin(choice) in (tuple, list) for choice in choices(self.info.annotation))

    @property
    def may_be_none(self) -> bool:
        """Whether None is a value."""
        return type(None) in choices(self.info.annotation)

    @property
    def default(self) -> Any:
        """The default, made where it is made by a function."""
        return self.info.get_default(call_default_factory=True)


def choices(annotation: Any) -> tuple[Any, ...]:
    """The members of a union type, or the type alone."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def sections() -> dict[str, type[Config]]:
    """The closed parts of `RunConfig`: name to class."""
    return {
        name: info.annotation
        for name, info in RunConfig.model_fields.items()
        if name not in UNIONS and isinstance(info.annotation, type) and issubclass(info.annotation, Config)
    }


def default_type(union: registry.Kind) -> str:
    """The member an open union takes when none is given."""
    default: TypedConfig = RunConfig.model_fields[union].get_default(call_default_factory=True)
    return default.type


def inner_parts(config: type[Config]) -> dict[str, type[Config]]:
    """The parts within a part: field to class."""
    return {
        name: info.annotation
        for name, info in config.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, Config)
    }


def section_fields(name: str, config: type[Config]) -> dict[str, Field]:
    """The fields of one part and of the parts within it, by dotted path."""
    inner = inner_parts(config)
    found = {f"{name}.{field}": Field(f"{name}.{field}", info) for field, info in config.model_fields.items()}
    found = {path: field for path, field in found.items() if path.rpartition(".")[2] not in inner}
    for field, part in inner.items():
        found.update(section_fields(f"{name}.{field}", part))
    return found


def leaves(name: str, value: Any) -> dict[str, Any]:
    """The values of a dumped part (or a value alone) by dotted path."""
    if not isinstance(value, dict):
        return {name: value}
    return {path: leaf for key, item in value.items() for path, leaf in leaves(f"{name}.{key}", item).items()}


def all_fields(parts: Mapping[str, type[Config]]) -> dict[str, Field]:
    """Every field by dotted path: those of ``parts`` (name to class) and those of `RunConfig` itself."""
    own = {name: Field(name, info) for name, info in RunConfig.model_fields.items() if name not in parts}
    own = {name: field for name, field in own.items() if name not in UNIONS}
    for name, config in parts.items():
        own.update(section_fields(name, config))
    return own


def from_text(text: str, field: Field) -> Any:
    """What a person typed, as the field's type wants it (`none` is None where allowed); pydantic does the rest."""
    if field.may_be_none and text.strip().lower() in ("none", "null"):
        return None
    for choice in choices(field.info.annotation):
        if get_origin(choice) is Literal:
            for member in get_args(choice):
                if str(member) == text:
                    return member
    return text


def as_text(value: Any) -> str:
    """A value as it can be typed on the command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(as_text(item) for item in value)
    return str(value)


def nearest(path: str, known: Iterable[str]) -> str | None:
    """The known dotted path that was probably meant.

    A right name in the wrong part wins (``epochs``: ``training.epochs``), then the nearest in the same part, then any.
    """
    known = list(known)
    part, _, last = path.rpartition(".")
    same_name = [name for name in known if name.rpartition(".")[2] == last]
    if same_name:
        return same_name[0]
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == part}
    anywhere = {name.rpartition(".")[2]: name for name in known}
    for names, wanted, cutoff in (
        (siblings, last, 0.6),
        ({name: name for name in known}, path, 0.8),
        (anywhere, last, 0.75),
    ):
        close = difflib.get_close_matches(wanted, names, n=1, cutoff=cutoff)
        if close:
            return names[close[0]]
    return None
