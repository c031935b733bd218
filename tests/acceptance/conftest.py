"""What the walk stands on: a folder to type in, a model folder, and a finished run that must stay as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from feinschliff.cli.main import main
from tests.acceptance.walk import GOOD


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to type in, with a cache of its own and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FEINSCHLIFF_OFFLINE", "1")
    return tmp_path


@pytest.fixture
def good(desk: Path) -> Path:
    """A file nothing is wrong with."""
    file = desk / "good.csv"
    file.write_text(GOOD, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """One small run, trained once for all tests; they get copies."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "good.csv").write_text(GOOD, encoding="utf-8")
    arguments = ["train", str(folder / "good.csv"), "--model", str(tiny_bert), "--output-dir", str(folder / "run")]
    assert main([*arguments, "--training.epochs", "1", "--training.precision", "fp32"]) == 0
    return folder / "run"


@pytest.fixture
def finished(desk: Path, finished_once: Path) -> Path:
    """A finished run at ``runs/finished``."""
    return shutil.copytree(finished_once, desk / "runs" / "finished")


@pytest.fixture
def base(desk: Path, tiny_bert: Path) -> Path:
    """A copy of the tiny model at ``base``, to be broken."""
    return shutil.copytree(tiny_bert, desk / "base")


@pytest.fixture
def train(tiny_bert: Path) -> Callable[..., list[str]]:
    """The command line of a short run."""

    def made(*data: str, output_dir: str = "runs/new", model: str | Path = tiny_bert, epochs: int = 1) -> list[str]:
        options = ["--training.epochs", str(epochs), "--training.precision", "fp32", "--json"]
        return ["train", *data, "--model", str(model), "--output-dir", output_dir, *options]

    return made
