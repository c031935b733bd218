"""What was given, and where: a YAML file with its line numbers, options of the command line, Python values.

Knows the shape of each source, not which fields exist (see ``fields``) nor what they may hold (see ``load``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from feinschliff.errors import ConfigError, Fault

_NULL_TAG = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Given:
    """One value with its place."""

    path: str
    """Dotted, as in `training.epochs`."""
    value: Any
    """Text (yaml), a list of texts (option), or any Python value."""
    origin: str
    """What the resolved configuration says about it."""
    where: str
    """What a fault says about it."""
    form: Literal["yaml", "option", "python"]


def from_yaml(path: Path) -> tuple[list[Given], list[Fault]]:
    """Every leaf of a YAML (or JSON) file with its line.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read",
            where="--config",
            why=error.strerror or str(error),
            remedy="name a YAML file, or give the fields as options: feinschliff config fields",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text", where=str(path), why=str(error), remedy="save it as UTF-8"
        ) from error
    except yaml.YAMLError as error:
        raise _not_yaml(path, error) from error
    if root is None:
        return [], []
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            f"{path} is not a mapping of names to values",
            where=_line(path, root),
            remedy="write it as `training:` and, indented below, `epochs: 3`",
        )
    found: list[Given] = []
    faults: list[Fault] = []
    _walk(path, root, "", found, faults)
    return found, faults


def _not_yaml(path: Path, error: yaml.YAMLError) -> ConfigError:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    return ConfigError(
        f"{path} is not valid YAML", where=where, why=problem, remedy="mend the line, or its indentation"
    )


def _line(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"


def _walk(path: Path, node: yaml.MappingNode, prefix: str, found: list[Given], faults: list[Fault]) -> None:
    seen: dict[str, int] = {}
    for key, value in node.value:
        name = prefix + str(key.value).replace("-", "_")
        line = key.start_mark.line + 1
        if name in seen:
            faults.append(
                Fault(
                    f"{name} is given twice",
                    where=f"{path}:{line}",
                    why=f"the first one stands in line {seen[name]}",
                    remedy="keep one of them",
                )
            )
            continue
        seen[name] = line
        if isinstance(value, yaml.MappingNode):
            _walk(path, value, f"{name}.", found, faults)
        elif isinstance(value, yaml.SequenceNode) and not all(
            isinstance(item, yaml.ScalarNode) for item in value.value
        ):
            faults.append(
                Fault(f"{name} holds a list of lists or mappings; a list of values is expected", _line(path, key))
            )
        else:
            where = _line(path, key)
            found.append(Given(name, _plain(value), where, where, "yaml"))


def _plain(node: yaml.Node) -> Any:
    """Scalars stay text (so `3e-4`, `yes` and `007` mean what the field's type makes of them), null is None."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return None if node.tag == _NULL_TAG else node.value


def from_options(options: Sequence[str]) -> tuple[list[Given], list[Fault]]:
    """Dotted options: ``--part.field value`` or ``--part.field=value``, with dashes or underscores.

    An option without a value has an empty list.
    """
    values: dict[str, list[str]] = {}
    faults: list[Fault] = []
    position = 0
    while position < len(options):
        option = options[position]
        position += 1
        if not option.startswith("--"):
            faults.append(
                Fault(f"unexpected argument {option!r}", where="command line", remedy="write --part.field value")
            )
            continue
        name, equals, value = option[2:].partition("=")
        name = name.replace("-", "_")
        texts = values.setdefault(name, [])
        if equals:
            texts.append(value)
        elif position < len(options) and not options[position].startswith("--"):
            texts.append(options[position])
            position += 1
    return [
        Given(name, texts, "command line", "--" + name.replace("_", "-"), "option") for name, texts in values.items()
    ], faults


def from_python(values: Mapping[str, Any], origin: str) -> list[Given]:
    """Python values, nested or by dotted path."""
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = {f"{name}.{key}": item for key, item in value.items()}
            found += from_python(inner, origin)
        else:
            found.append(Given(name, value, origin, name, "python"))
    return found


def with_origins(values: Mapping[str, tuple[Any, str]]) -> list[Given]:
    """Values by dotted path, each with the origin it came with."""
    return [Given(path, value, origin, origin, "python") for path, (value, origin) in values.items()]


def layered(layers: Iterable[Iterable[Given]]) -> dict[str, Given]:
    """All layers on one another: the later wins."""
    return {given.path: given for layer in layers for given in layer}
