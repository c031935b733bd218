"""Checks of answers that a file makes: a JSON schema, or a Python function of the person's own. Knows no other kind.

A Python file is run with the person's rights, so only because they named it, never because rows or a model's folder do.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from feinschliff.errors import ConfigError
from feinschliff.results.extraction import read_json

DEFAULT_FUNCTION = "score"
_FAILS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, NameError, OSError,
    RuntimeError, SyntaxError, TypeError, ValueError, SystemExit,
)  # fmt: skip
"""What other people's code is expected to raise; anything else goes up as it is, with a note of where it came from."""


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
        ConfigError: the file cannot be read, or is no JSON schema.
    """
    from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
    from jsonschema.validators import Draft202012Validator, validator_for  # type: ignore[import-untyped]
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    path = _existing(argument, folder)
    try:
        schema = read_json(path.read_text(encoding="utf-8-sig"))
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not JSON", why=str(error)) from None
    except SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path)
        raise ConfigError(f"{path} is no JSON schema", why=f"{error.message}, at {place or 'its top'}") from None
    validator = kind(schema, registry=Registry())

    def score(row: Written) -> float:
        try:
            return float(validator.is_valid(read_json(row.answer)))
        except ValueError:
            return 0.0
        except Unresolvable as error:
            remedy = "put all definitions into the one file"
            raise ConfigError(f"{path} refers to {error.ref!r}, which is not in it", remedy=remedy) from None
        except (RecursionError, re.error) as error:
            raise ConfigError(f"{path} cannot be followed", why=str(error), remedy="mend the schema") from None

    return score


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
    found = vars(_run(path)).get(function)
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


def _run(path: Path) -> Any:
    name = f"feinschliff_check_{blake2b(str(path.resolve()).encode(), digest_size=6).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look their own module up
    with _told(path, "running it"):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except _FAILS as error:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path.absolute())
        ]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        place = f"{path}:{line}" if line else str(path)
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(
            f"{what} failed in {place}", why=f"{type(error).__name__}: {message}", remedy="mend the file"
        ) from error
    except Exception as error:
        error.add_note(f"raised by {path}, a check of evaluation.checks")
        raise


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
