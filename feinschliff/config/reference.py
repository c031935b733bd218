"""The reference of all fields, made from the classes: for the docs, for ``--help``, and as a JSON schema.

Knows the classes' docstrings and limits, not how they are printed on a terminal.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from feinschliff import registry
from feinschliff.config import fields
from feinschliff.config.bases import Config, TypedConfig
from feinschliff.config.run import RunConfig


@dataclass(frozen=True, slots=True)
class FieldReference:
    """One field as a person needs it."""

    path: str
    kind: str
    """`a whole number`, `linear, cosine or constant` ..."""
    default: str
    limits: str
    help: str

    @property
    def option(self) -> str:
        """As typed on the command line."""
        return "--" + self.path.replace("_", "-")


@dataclass(frozen=True, slots=True)
class PartReference:
    """One part of a run's configuration, or one member of an open union."""

    title: str
    help: str
    fields: tuple[FieldReference, ...]


def parts() -> Iterator[PartReference]:
    """All parts; each member of an open union is one. Members' modules are imported."""
    own = {name: field for name, field in fields.all_fields(fields.sections()).items() if "." not in name}
    yield PartReference("run", "The run itself.", tuple(_field(field) for field in own.values()))
    for name, config in fields.sections().items():
        yield _part(name, name, config)
        for inner, part in fields.inner_parts(config).items():
            yield _part(f"{name}.{inner}", f"{name}.{inner}", part)
    for union in fields.UNIONS:
        for member in registry.names(union):
            config = registry.load(union, member).CONFIG
            yield _part(f"{union}.type {member}", union, config)


def _part(title: str, name: str, config: type[Config]) -> PartReference:
    found = tuple(
        _field(field)
        for field in fields.section_fields(name, config).values()
        if field.path.rpartition(".")[0] == name
        and not (issubclass(config, TypedConfig) and field.path == f"{name}.type")
    )
    return PartReference(title, inspect.cleandoc(config.__doc__ or ""), found)


def _field(field: fields.Field) -> FieldReference:
    default = "required" if field.info.is_required() else fields.as_text(field.default) or "(empty)"
    return FieldReference(field.path, _kind(field), default, _limits(field), field.info.description or "")


def _kind(field: fields.Field) -> str:
    words = [_word(choice) for choice in fields.choices(field.info.annotation) if choice is not NoneType]
    return " or ".join(words) + (" or none" if field.may_be_none else "")


def _word(choice: Any) -> str:
    if get_origin(choice) is Literal:
        return " | ".join(str(member) for member in get_args(choice))
    if get_origin(choice) in (tuple, list):
        return "one or several: a,b"
    return {int: "whole number", float: "number", str: "text", bool: "true | false"}.get(choice, str(choice))


def _limits(field: fields.Field) -> str:
    texts = []
    for limit in field.info.metadata:
        match limit:
            case Gt(gt=bound):
                texts.append(f"> {bound}")
            case Ge(ge=bound):
                texts.append(f">= {bound}")
            case Lt(lt=bound):
                texts.append(f"< {bound}")
            case Le(le=bound):
                texts.append(f"<= {bound}")
    return ", ".join(texts)


def markdown() -> str:
    """The reference page."""
    lines = [
        "# Configuration",
        "",
        "Every field can stand in a YAML file (`training:` and, indented, `epochs: 3`), be given on the command line",
        "(`--training.epochs 3`), or in Python (`training={'epochs': 3}`). Later layers win: defaults, file, command",
        "line. `none` gives back a value that is found or measured.",
        "This page is made from the code by `scripts/docs`.",
    ]
    for part in parts():
        lines += ["", f"## {part.title}", "", part.help, ""]
        if part.fields:
            lines += ["| field | value | default | limits | what it does |", "|---|---|---|---|---|"]
            lines += [
                f"| `{field.path}` | {_cell(field.kind)} | `{_cell(field.default)}` | {_cell(field.limits)} "
                f"| {_cell(field.help)} |"
                for field in part.fields
            ]
        else:
            lines.append("It has no fields of its own.")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def json_schema() -> dict[str, Any]:
    """A JSON schema of a run's YAML file, for editors; each open union lists its registered members."""
    schema = RunConfig.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    for union in fields.UNIONS:
        members = []
        for name in registry.names(union):
            member = registry.load(union, name).CONFIG.model_json_schema()
            definitions.update(member.pop("$defs", {}))
            member["properties"]["type"] = {"const": name}
            definitions[f"{union}.{name}"] = member
            members.append({"$ref": f"#/$defs/{union}.{name}"})
        schema["properties"][union] = {
            "description": RunConfig.model_fields[union].description,
            "anyOf": [*members, {"enum": list(registry.names(union))}],
        }
    return schema
