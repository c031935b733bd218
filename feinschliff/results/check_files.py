"""Checks of answers that a file makes: a JSON schema, or a Python function of the person's own. Knows no other kind.

A Python file is run with the person's rights, so only because they named it, never because rows or a model's folder do.
It is run once a process, and again once it was changed. Whatever it raises is told as theirs to mend; nothing here ends
what takes for ever.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

from feinschliff.errors import ConfigError, FeinschliffError
from feinschliff.results.extraction import read_json

DEFAULT_FUNCTION = "score"


@dataclass(frozen=True, slots=True)
class Written:
    """A row with what was written for it."""

    prompt: str
    answer: str
    references: tuple[str, ...]
    """Any of them would be right; empty: none is known."""
    where: str = ""
    """``file:line``, for errors."""


Score = Callable[[Written], float]


def is_json(row: Written) -> float:
    """1 where the answer is JSON and nothing else."""
    try:
        read_json(row.answer)
    except ValueError:
        return 0.0
    return 1.0


def schema_score(argument: str, folder: Path) -> Score:
    """1 where the answer is JSON and follows the schema of a file. Schemas elsewhere are never fetched.

    Raises:
        ConfigError: the file cannot be read, is no JSON schema, or refers to what is not in it.
    """
    from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
    from jsonschema.validators import Draft202012Validator, validator_for  # type: ignore[import-untyped]
    from referencing import Registry, Specification
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    path = _existing(argument, folder)
    try:
        schema = read_json(path.read_text(encoding="utf-8-sig"))
        dialect = schema.get("$schema", "") if isinstance(schema, dict) else ""
        if not isinstance(schema, dict | bool) or not isinstance(dialect, str):
            raise ConfigError(f"{path} is no JSON schema", why="a schema is an object, and its $schema is an address")
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        specification = specification_with(kind.META_SCHEMA["$schema"], default=Specification.OPAQUE)
        root = specification.create_resource(schema)
        dangling = list(_dangling(root, Registry().resolver_with_root(root)))
        if dangling:
            raise _refers_elsewhere(path, dangling)
        validator = kind(schema, registry=Registry())
        validator.is_valid(None)  # one that leads back to itself without end is found here, not after a training
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not JSON", why=str(error)) from None
    except SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path)
        raise ConfigError(f"{path} is no JSON schema", why=f"{error.message}, at {place or 'its top'}") from None
    except RecursionError as error:
        raise ConfigError(f"{path} cannot be followed", why=str(error), remedy="mend the schema") from None

    def score(row: Written) -> float:
        try:
            return float(validator.is_valid(read_json(row.answer)))
        except ValueError:
            return 0.0
        except Unresolvable as error:  # below keywords that no standard knows, where nobody looks but a reference
            raise _refers_elsewhere(path, [str(error.ref)]) from None
        except (RecursionError, re.error) as error:
            raise ConfigError(f"{path} cannot be followed", why=str(error), remedy="mend the schema") from None

    return score


def _refers_elsewhere(path: Path, references: Iterable[str]) -> ConfigError:
    what = f"{path} refers to {', '.join(map(repr, dict.fromkeys(references)))}, which is not in it"
    return ConfigError(what, remedy="put all definitions into the one file")


def _dangling(resource: Any, resolver: Any) -> Iterator[str]:
    """The references, anywhere in a schema, to what is not in it."""
    from referencing.exceptions import Unresolvable

    said = resource.contents if isinstance(resource.contents, dict) else {}
    for reference in (said.get("$ref"), said.get("$dynamicRef")):
        if isinstance(reference, str):
            try:
                resolver.lookup(reference)
            except Unresolvable:
                yield reference
    for inner in resource.subresources():
        yield from _dangling(inner, resolver.in_subresource(inner))


def python_score(argument: str, folder: Path) -> Score:
    """What ``FUNCTION(prompt, answer, reference)`` of ``FILE.py:FUNCTION`` gives; of several references, the best.

    Without ``:FUNCTION`` it is ``score``. The reference is None where a row has none. The result is a number from 0 to
    1, or True or False.

    Raises:
        ConfigError: the file or the function is not there, the file fails when it is run, or the function does not take
            three arguments.
    """
    name, colon, function = argument.rpartition(":")
    if not colon or not function.isidentifier():
        name, function = argument, DEFAULT_FUNCTION
    path = _existing(name, folder)
    if path.suffix != ".py":
        raise ConfigError(f"{path} is not a Python file", remedy="name a file ending in .py")
    stamp = path.stat()
    with _told(path, "running it"):
        found = vars(_run(path.absolute(), stamp.st_mtime_ns, stamp.st_size)).get(function)
    if not callable(found):
        raise ConfigError(
            f"{path} has no function {function}", remedy=f"write: def {function}(prompt, answer, reference)"
        )
    try:
        inspect.signature(found).bind("", "", "")
    except TypeError as error:
        remedy = f"write: def {function}(prompt, answer, reference)"
        raise ConfigError(
            f"{function} of {path} does not take three arguments", why=str(error), remedy=remedy
        ) from None
    except ValueError:  # a function of a compiled module does not say what it takes
        pass

    def score(row: Written) -> float:
        with _told(path, f"{function}()"):
            values = [found(row.prompt, row.answer, gold) for gold in row.references or (None,)]
            return max(_share(value, f"{function}() of {path.name}") for value in values)

    return score


def _existing(name: str, folder: Path) -> Path:
    path = folder / Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", remedy="name a file; paths are relative to where you are")
    return path


@cache
def _run(path: Path, changed_ns: int, size: int) -> ModuleType:
    """The module at an absolute path; when it was changed, and its size, stand for its content."""
    name = f"feinschliff_check_{blake2b(str(path.resolve()).encode(), digest_size=6).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look their own module up
    spec.loader.exec_module(module)
    return module


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Whatever a person's own code raises becomes a fault with its line: it is a border like that of a process."""
    try:
        yield
    except FeinschliffError:
        raise
    except (Exception, SystemExit) as error:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path.absolute())
        ]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        place = f"{path}:{line}" if line else str(path)
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(
            f"{what} failed in {place}", why=f"{type(error).__name__}: {message}".rstrip(": "), remedy="mend the file"
        ) from error


def _share(value: Any, what: str) -> float:
    """As a Python number, whatever kind of number or truth value it is."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        why = "a check gives a number from 0 to 1, or True or False"
        raise ConfigError(f"{what} gave {str(value)[:80]!r}", why=why)
    return number
