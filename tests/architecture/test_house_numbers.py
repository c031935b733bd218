"""The house numbers: how long files and functions are, how many parameters, how deep classes inherit. They are printed.

An exception stands in ``EXCEPTIONS`` with its reason, and is refused when it is no longer needed.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator

import pytest

from tests.architecture.test_floors import FILES, _name, _tree

MAX_FILE_LINES = 400
MAX_BODY_LINES = 50
MAX_PARAMETERS = 8
MAX_DEPTH = 2

EXCEPTIONS: dict[str, str] = {}
"""What may pass a limit, and why.

A command (``@app.command``) is no function that anybody calls: each of its parameters is one option, as typer wants it,
so the limit on parameters does not hold for it.
"""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions() -> Iterator[tuple[str, Function]]:
    for file in FILES:
        yield from _functions_in(_tree(file), _name(file))


def _functions_in(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield f"{prefix}.{child.name}", child
            yield from _functions_in(child, f"{prefix}.{child.name}")
        elif isinstance(child, ast.ClassDef):
            yield from _functions_in(child, f"{prefix}.{child.name}")
        elif not isinstance(child, ast.expr):
            yield from _functions_in(child, prefix)


def _body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the end."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    return (function.end_lineno or 0) - body[0].lineno + 1


def _parameters(function: Function) -> int:
    arguments = function.args
    named = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")])


def _is_command(function: Function) -> bool:
    calls = [decorator.func for decorator in function.decorator_list if isinstance(decorator, ast.Call)]
    return any(isinstance(call, ast.Attribute) and call.attr == "command" for call in calls)


def _bases() -> dict[str, list[str]]:
    return {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for file in FILES
        for node in ast.walk(_tree(file))
        if isinstance(node, ast.ClassDef)
    }


def _depth(name: str, bases: dict[str, list[str]]) -> int:
    """Own classes above this one, this one included; protocols and foreign classes count nothing."""
    return 1 + max((_depth(base, bases) for base in bases.get(name, []) if base in bases and base != name), default=0)


def _over() -> dict[str, int]:
    found = {f"lines of {_name(file)}": _file_lines(file.read_text(encoding="utf-8")) for file in FILES}
    found = {name: lines for name, lines in found.items() if lines > MAX_FILE_LINES}
    for name, function in _functions():
        if _body_lines(function) > MAX_BODY_LINES:
            found[f"body of {name}"] = _body_lines(function)
        if _parameters(function) > MAX_PARAMETERS and not _is_command(function):
            found[f"parameters of {name}"] = _parameters(function)
    bases = _bases()
    roots = {"Result", "Config", "FeinschliffError"}
    for name in bases:
        depth = _depth(name, bases) - (1 if _descends(name, roots, bases) else 0)
        if depth > MAX_DEPTH:
            found[f"depth of {name}"] = depth
    return found


def _descends(name: str, roots: set[str], bases: dict[str, list[str]]) -> bool:
    """The three roots (results, configurations, errors) are trees by design; depth counts from below them."""
    return any(base in roots or _descends(base, roots, bases) for base in bases.get(name, []) if base in bases)


def _file_lines(text: str) -> int:
    return text.count("\n")


def test_house_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    bodies = [_body_lines(function) for _, function in _functions()]
    lines = {_name(file): _file_lines(file.read_text(encoding="utf-8")) for file in FILES}
    longest = max(lines, key=lambda name: lines[name])
    with capsys.disabled():
        print(
            f"\nhouse numbers: {len(FILES)} files, {sum(lines.values())} lines, longest {longest} ({lines[longest]}); "
            f"{len(bodies)} functions, median body {statistics.median(bodies):g} lines, longest {max(bodies)}; "
            f"most parameters {max(_parameters(function) for _, function in _functions() if not _is_command(function))}"
        )
    over = _over()
    not_excused = {name: number for name, number in over.items() if name not in EXCEPTIONS}
    assert not not_excused, f"over the limit (split it, or give a reason in EXCEPTIONS): {not_excused}"


def test_exceptions_have_a_reason_and_are_still_needed() -> None:
    over = _over()
    assert all(len(reason) > 10 for reason in EXCEPTIONS.values())
    assert [name for name in EXCEPTIONS if name not in over] == []
