"""README and docs are true: commands exist, YAML and Python blocks hold, links resolve, the map is complete."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

import feinschliff.lifecycle
from feinschliff.cli.main import VERBS, main
from feinschliff.config.load import load_run_config
from tests.conftest import REPOSITORY

PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "examples").rglob("*.md")]
)
_GENERATED = {"configuration_reference.md"}


def _name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def _commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in _blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                match = re.search(r"(?:^|\| |&& )(feinschliff .*)", line)
                if match:
                    found.append((_name(page), match[1]))
    return found


@pytest.fixture
def verbs_do_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Put stand-ins in the place of the library's verbs; what is called is listed."""
    called: list[str] = []

    def stand_in(name: str) -> Any:
        def verb(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            raise KeyboardInterrupt

        return verb

    class Module(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return stand_in(name)

    for name in (*VERBS, "convert", "show"):  # the last two are verbs of `data`, in modules of their own
        module = Module(f"feinschliff.lifecycle.{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(feinschliff.lifecycle, name, module, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("data:\n  train: [a.csv]\nmethod: lora\n", encoding="utf-8")
    return called


@pytest.mark.parametrize(("page", "command"), _commands(), ids=lambda value: value)
def test_every_command_in_the_docs_exists(
    page: str,
    command: str,
    verbs_do_nothing: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The options are parsed and the verb is reached; what it does is tested elsewhere."""
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("a text\n"))
    arguments = shlex.split(command, comments=True)[1:]
    if "--install-completion" in arguments:
        pytest.skip("it would change the shell's files")
    code = main(arguments)
    shown = capsys.readouterr()
    assert code in (0, 130), f"{page}: {command}\n{shown.err}"
    light = arguments[0].startswith("-") or arguments[0] == "config" or "--help" in arguments
    assert light or verbs_do_nothing, f"{page}: {command} reached no verb"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_yaml_block_is_a_configuration(page: Path, tmp_path: Path) -> None:
    for block in _blocks(page, "yaml"):
        if not isinstance(yaml.safe_load(block), dict):
            continue
        file = tmp_path / "run.yaml"
        file.write_text(block, encoding="utf-8")
        load_run_config(file)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_python_block_compiles(page: Path) -> None:
    for block in _blocks(page, "python"):
        compile(block, _name(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_resolves(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if re.match(r"[a-z]+:", target) or Path(target).name in _GENERATED:
            continue
        assert (page.parent / target).exists(), f"{_name(page)} links to {target}"


def test_every_script_named_in_the_docs_exists() -> None:
    for page in PAGES:
        for script in re.findall(r"scripts/[a-z_]+", page.read_text(encoding="utf-8")):
            assert (REPOSITORY / script).is_file(), f"{_name(page)} names {script}"


def test_the_map_of_the_readme_is_complete() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/map", "--check"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| \**`([^`]+)`\** \|", readme, flags=re.MULTILINE))
    package = REPOSITORY / "feinschliff"
    missing = [name for name in named if not (package / name).exists()]
    assert missing == []
    there = {file.relative_to(package).as_posix() for file in package.rglob("*.py") if file.name != "__init__.py"}
    assert there <= named


@pytest.mark.parametrize("file", sorted((REPOSITORY / "examples").rglob("*.yaml")), ids=_name)
def test_every_example_file_is_a_configuration(file: Path) -> None:
    config, origins = load_run_config(file)
    assert config.data.train
    assert any(origin.origin.startswith(str(file)) for origin in origins)
