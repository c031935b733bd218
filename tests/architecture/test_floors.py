"""The floors hold: imports point down, no cycles; only settings reads the environment; the light verbs stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "feinschliff"
FILES = sorted(PACKAGE.rglob("*.py"))
_HEAVY = ("torch", "transformers", "pandas", "sklearn", "scipy", "matplotlib", "datasets", "pyarrow")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _name(file: Path) -> str:
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(file): file for file in FILES}


def _imports(file: Path) -> set[str]:
    """Our modules that a file imports, lazily too; not what only the type checker sees."""
    hidden = {
        id(node)
        for guard in ast.walk(_tree(file))
        if isinstance(guard, ast.If) and isinstance(guard.test, ast.Name) and guard.test.id == "TYPE_CHECKING"
        for node in ast.walk(guard)
    }
    found: set[str] = set()
    for node in ast.walk(_tree(file)):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            if any(f"{node.module}.{alias.name}" not in MODULES for alias in node.names):
                found.add(node.module)
    return {name for name in found if name in MODULES}


def test_floors() -> None:
    """The contract in pyproject.toml, checked by import-linter."""
    tool = Path(sys.executable).with_name("lint-imports")
    if not tool.is_file():
        pytest.skip("import-linter is not installed beside this Python")
    done = subprocess.run([str(tool), "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_import_cycles() -> None:
    graph = {name: _imports(file) for name, file in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import cycle: {' -> '.join([*above[above.index(name) :], name])}"
        if name in done:
            return
        for below in sorted(graph[name] - {name}):
            visit(below, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_a_module_says_what_it_does_and_what_it_does_not_know() -> None:
    silent = [name for name, file in MODULES.items() if len(ast.get_docstring(_tree(file)) or "") < 20]
    assert silent == []


def _offenders(guilty: Callable[[ast.AST], bool], files: Iterable[Path]) -> list[str]:
    return [
        f"{file.relative_to(REPOSITORY)}:{node.lineno}"
        for file in files
        for node in ast.walk(_tree(file))
        if isinstance(node, (ast.expr, ast.ExceptHandler)) and guilty(node)
    ]


def test_only_settings_reads_the_environment() -> None:
    def reads(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
            and node.attr in ("environ", "getenv", "putenv")
        )

    assert _offenders(reads, (file for file in FILES if file.name != "settings.py")) == []


def test_guesses_about_attributes_stay_in_the_registry_and_with_the_models() -> None:
    def guesses(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr")

    files = [file for file in FILES if file.parent.name != "models" and file.name != "registry.py"]
    assert _offenders(guesses, files) == []


_CALLS_CODE_OF_THE_PERSONS = ("check_files.py",)
"""Which may raise anything, so this is a border too."""


def test_broad_except_only_at_borders() -> None:
    def broad(node: ast.AST) -> bool:
        if not isinstance(node, ast.ExceptHandler) or _raises_again(node):
            return False
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        return any(
            one is None or (isinstance(one, ast.Name) and one.id in ("Exception", "BaseException")) for one in caught
        )

    inside = [file for file in FILES if file.parent.name != "cli" and file.name not in _CALLS_CODE_OF_THE_PERSONS]
    assert _offenders(broad, inside) == []


def _raises_again(handler: ast.ExceptHandler) -> bool:
    """A handler that tidies up and raises the same exception hides nothing."""
    return any(isinstance(node, ast.Raise) and node.exc is None for node in handler.body)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["runs", "list", "."],
        ["runs", "list", ".", "--json"],
        ["data", "--help"],
        ["models", "--help"],
        ["tune", "missing.csv", "--training.epochs", "many"],
        ["train", "missing.csv", "--method.type", "lora", "--method.rang", "4"],
    ],
    ids=" ".join,
)
def test_the_light_verbs_and_refused_options_import_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from feinschliff.cli.main import main
code = main({arguments!r})
print("heavy:", sorted(name for name in {_HEAVY!r} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "missing.csv" in arguments else 0), done.stderr
    assert "heavy: []" in done.stderr


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, feinschliff; print([name for name in {_HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
