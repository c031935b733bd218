"""One `RunConfig` from a YAML file, options and Python values, with the origin of every value and all faults at once.

Knows how layers are put together and checked; the fields stand in the classes, the sources in ``given``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from feinschliff import registry
from feinschliff.config import fields, rules
from feinschliff.config.bases import Config, TypedConfig
from feinschliff.config.fields import UNIONS, Field
from feinschliff.config.given import Given, from_options, from_python, from_yaml, layered, with_origins
from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError, Fault
from feinschliff.results.comparison import Origin
from feinschliff.store.run_directory import RunDirectory, read_json, write_json


def load_run_config(
    yaml: Path | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    given: Mapping[str, tuple[Any, str]] | None = None,
    base: Mapping[str, tuple[Any, str]] | None = None,
) -> tuple[RunConfig, list[Origin]]:
    """The configuration of a run, and where each of its values came from.

    Layers, each over the one before: defaults, ``base``, the file, ``given``, ``overrides``.

    Args:
        yaml: a YAML file, or the resolved ``config.json`` of a run (its recorded origins are kept).
        overrides: dotted options as typed (``["--training.learning-rate", "3e-4"]``), or Python values, nested or
            dotted.
        given: values by dotted path, each with its origin (what a verb's own options said).
        base: values by dotted path, each with its origin (what was found before the file was read).

    Raises:
        ConfigError: every fault found, each with its file and line or option.
    """
    nothing: tuple[list[Given], list[Fault]] = ([], [])
    in_file, faults = from_yaml(yaml) if yaml else nothing
    if isinstance(overrides, Mapping):
        on_top, more = from_python(overrides, "Python"), nothing[1]
    else:
        on_top, more = from_options(overrides)
    in_file = _recorded(yaml, in_file) if yaml else in_file
    named = with_origins(given or {})
    values = layered((with_origins(base or {}), in_file, named, on_top))
    return _resolve(values, [*faults, *more, *_said_twice(named, on_top)])


def write_resolved(run_dir: RunDirectory, config: RunConfig, origins: Sequence[Origin]) -> None:
    """Write the resolved configuration and its origins beside the results."""
    write_json(run_dir.origins, [origin.model_dump() for origin in origins])
    write_json(run_dir.config, config.model_dump(mode="json"))  # last: its presence says that both are there


def read_resolved(path: Path) -> tuple[RunConfig, list[Origin]]:
    """What :func:`write_resolved` wrote; ``path`` is the run's directory or its ``config.json``.

    Raises:
        ConfigError: there is no resolved configuration, or it does not hold any more.
    """
    run = RunDirectory(path if path.is_dir() else path.parent)
    file = run.config if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"{path} holds no resolved configuration", where=str(file), remedy="name a run's directory")
    return load_run_config(file)


def _said_twice(named: Sequence[Given], on_top: Sequence[Given]) -> list[Fault]:
    short = {value.path: value for value in named}
    return [
        Fault(f"{value.path} is given twice", value.where, f"it is {fields.as_text(short[value.path].value)} already")
        for value in on_top
        if value.path in short
    ]


def _recorded(path: Path, in_file: list[Given]) -> list[Given]:
    """Values of a run's own ``config.json`` keep the origins recorded beside it."""
    run = RunDirectory(path.parent)
    if path.name != run.config.name or not run.origins.is_file():
        return in_file
    recorded = {entry["field"]: entry["origin"] for entry in read_json(run.origins)}
    return [
        Given(value.path, value.value, recorded.get(value.path, value.origin), value.where, value.form)
        for value in in_file
    ]


def _resolve(values: dict[str, Given], faults: list[Fault]) -> tuple[RunConfig, list[Origin]]:
    parts, union_faults = _parts(values)
    faults = faults + union_faults
    known = fields.all_fields(parts)
    parsed: dict[str, Any] = {}
    for path, given in values.items():
        if path in known:
            fault = _parse(given, known[path], parsed)
        elif path.partition(".")[0] in UNIONS and path.partition(".")[0] not in parts:
            fault = None  # the union's type is unknown and reported; its other keys cannot be judged
        else:
            fault = _unknown(given, known, parts)
        if fault:
            faults.append(fault)
    made = _validate_parts(parts, parsed, values, known, faults)
    own = {path: value for path, value in parsed.items() if "." not in path}
    try:
        config = RunConfig.model_validate({**made, **own})
    except ValidationError as error:
        faults += _explain(error, "", values, known)
        raise ConfigError(faults) from None
    if not faults:
        faults = [_placed(fault, values) for fault in rules.check(config)]
    if faults:
        raise ConfigError(faults)
    return config, _origins(config, values, parsed)


def _parts(values: dict[str, Given]) -> tuple[dict[str, type[Config]], list[Fault]]:
    """The class of each part; open unions by the `type` given (``method: lora`` is ``method.type: lora``)."""
    parts = fields.sections()
    faults = []
    for union in UNIONS:
        short = values.pop(union, None)
        if short is not None and not (isinstance(short.value, TypedConfig) or short.value is None):
            name = f"{union}.type"
            values[name] = Given(name, short.value, short.origin, short.where, short.form)
        given = values.get(f"{union}.type")
        name = _single_text(given) if given else fields.default_type(union)
        try:
            parts[union] = registry.load(union, name).CONFIG
        except ConfigError as error:
            where = given.where if given else union
            faults += [Fault(fault.what, where, fault.why, fault.remedy) for fault in error.faults]
    return parts, faults


def _single_text(given: Given) -> str:
    value = "".join(given.value[-1:]) if given.form == "option" else given.value
    return str(value)


def _parse(given: Given, field: Field, parsed: dict[str, Any]) -> Fault | None:
    """Put the value into ``parsed``, as the field's type wants it."""
    value = given.value
    if given.form == "option" and not value:
        return Fault(f"{given.where} needs a value", given.where, remedy=f"write {given.where} VALUE")
    if given.form == "option":
        if field.takes_several:
            value = [part for text in value for part in text.split(",") if part]
        elif len(value) > 1:
            return Fault(f"{given.where} is given {len(value)} times", given.where, remedy="keep one of them")
        else:
            value = value[0]
    if given.form == "yaml" and isinstance(value, list) and not field.takes_several:
        return Fault(f"{field.path} takes one value, not a list", given.where, remedy="give one value")
    if isinstance(value, str) and field.takes_several:
        value = [value]
    if given.form != "python" and isinstance(value, str):
        value = fields.from_text(value, field)
    parsed[field.path] = value
    return None


def _unknown(given: Given, known: Mapping[str, Field], parts: Mapping[str, type[Config]]) -> Fault:
    def spelled(path: str) -> str:
        return "--" + path.replace("_", "-") if given.form == "option" else path

    if any(path.startswith(given.path + ".") for path in known):
        first = next(path for path in known if path.startswith(given.path + "."))
        what = f"{given.path} is a part with fields of its own, not a value"
        return Fault(what, given.where, remedy=f"set one of its fields, such as {spelled(first)}")
    above = given.path.rpartition(".")[0]
    if above in known:
        return Fault(f"{spelled(above)} is a value; it has no {given.path.rpartition('.')[2]!r}", given.where)
    near = fields.nearest(given.path, known) or fields.nearest(given.path, fields.SHORT_NAMES)
    names = sorted(path for path in known if path.startswith(given.path.partition(".")[0] + "."))
    hint = f"did you mean {spelled(near)}?" if near else f"known here: {', '.join(names or sorted(parts))}"
    kind = "option" if given.form == "option" else "key"
    where = "command line" if given.form == "option" else given.where
    return Fault(f"unknown {kind} {spelled(given.path)}", where, remedy=hint)


def _validate_parts(
    parts: Mapping[str, type[Config]],
    parsed: Mapping[str, Any],
    values: Mapping[str, Given],
    known: Mapping[str, Field],
    faults: list[Fault],
) -> dict[str, Config]:
    made = {}
    for name, config in parts.items():
        mine = {path.removeprefix(f"{name}."): value for path, value in parsed.items() if path.startswith(f"{name}.")}
        try:
            made[name] = config.model_validate(_nested(mine))
        except ValidationError as error:
            faults += _explain(error, f"{name}.", values, known)
    return made


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted path as dictionaries in dictionaries."""
    out: dict[str, Any] = {}
    for path, value in values.items():
        *above, last = path.split(".")
        place = out
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return out


def _explain(
    error: ValidationError, prefix: str, values: Mapping[str, Given], known: Mapping[str, Field]
) -> list[Fault]:
    faults: dict[str, Fault] = {}
    for detail in error.errors():
        path = _deepest(prefix, detail["loc"], known)
        faults.setdefault(path, _explain_one(detail, path, values.get(path), known.get(path)))
    return list(faults.values())


def _deepest(prefix: str, places: Sequence[int | str], known: Mapping[str, Field]) -> str:
    """The field in which pydantic found a fault: behind it stand members of unions and places in tuples."""
    path = prefix.rstrip(".")
    for place in places:
        path = f"{path}.{place}" if path else str(place)
        if path in known:
            break
    return path


def _explain_one(detail: ErrorDetails, path: str, given: Given | None, field: Field | None) -> Fault:
    where = given.where if given else path
    if detail["type"] == "missing":
        return Fault(f"{path} is missing", where, why="it has no default", remedy=f"give {path}")
    context = detail.get("ctx", {})
    shown = fields.as_text(given.value if given else detail["input"])
    default = f" (default: {fields.as_text(field.default)})" if field and not field.info.is_required() else ""
    for key, words in _LIMITS.items():
        if key in context:
            why = f"it must be {words} {context[key]:g}"
            return Fault(
                f"{path} = {shown} is out of range", where, why, f"give a value {words} {context[key]:g}{default}"
            )
    if detail["type"] == "literal_error":
        expected = str(context["expected"])
        near = difflib.get_close_matches(
            shown, [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")], n=1
        )
        remedy = f"did you mean {near[0]}?" if near else f"choose one of these{default}"
        return Fault(f"{path} = {shown} is not a choice", where, f"it must be {expected}", remedy)
    wanted = next((words for kind, words in _WANTED.items() if detail["type"].startswith(kind)), None)
    if wanted:
        return Fault(f"{path} = {shown} is not {wanted}", where, remedy=f"give {wanted}{default}")
    return Fault(f"{path} = {shown} does not hold", where, str(context.get("error", detail["msg"])))


_LIMITS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list of values",
    "list": "a list of values",
}


def _placed(fault: Fault, values: Mapping[str, Given]) -> Fault:
    """A rule's fault at the file and line (or option) its field was given in."""
    given = values.get(fault.where or "")
    return Fault(fault.what, given.where, fault.why, fault.remedy) if given else fault


def _origins(config: RunConfig, values: Mapping[str, Given], parsed: Mapping[str, Any]) -> list[Origin]:
    origins = []
    for name, value in config.model_dump(mode="json").items():
        for path, leaf in fields.leaves(name, value).items():
            origin = values[path].origin if path in parsed else "default"
            origins.append(Origin(field=path, value=fields.as_text(leaf), origin=origin))
    return origins
