"""The border of the command line: every error becomes a message, an exit code and, with --json, one document."""

from __future__ import annotations

import errno
import importlib
import json
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import typer

from feinschliff import __version__
from feinschliff.cli.main import VERBS, main
from feinschliff.errors import DataError, Fault, Interrupted

Fail = Callable[[BaseException], None]


@pytest.fixture
def fail_with(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Make `runs list` end in an exception."""

    def prepare(error: BaseException) -> None:
        def broken(folder: object) -> None:
            print("a stray line")
            raise error

        module: Any = types.ModuleType("feinschliff.lifecycle.runs")
        module.list_runs = broken
        monkeypatch.setitem(sys.modules, "feinschliff.lifecycle.runs", module)

    return prepare


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"feinschliff {__version__}\n"


def test_every_verb_is_a_module_with_an_application() -> None:
    for verb in VERBS:
        module = importlib.import_module(f"feinschliff.cli.{verb}")
        command = typer.main.get_command(module.app)
        assert command.help, verb


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (["tun"], "unknown verb 'tun'", "did you mean `feinschliff tune`?"),
        (["runs", "lst"], "no such command 'lst'", "feinschliff runs --help"),
        (["runs", "list", "--jsn"], "no such option: --jsn", "--json"),
        (["runs", "show"], "missing argument", "feinschliff runs --help"),
        (["evaluate"], "missing argument", "feinschliff evaluate --help"),
    ],
)
def test_wrong_usage_is_two_with_the_nearest_name(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, remedy: str
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert remedy in shown.err
    assert shown.out == ""


def test_faults_are_all_printed_with_place_reason_and_remedy(
    capsys: pytest.CaptureFixture[str], fail_with: Fail
) -> None:
    fail_with(DataError([Fault("one", "a.csv:3", "because", "mend it"), Fault("two [bold]", "b.csv:4")]))
    assert main(["runs", "list"]) == 2
    shown = capsys.readouterr().err
    assert "error: a.csv:3: one\n  why: because\n  do:  mend it\nerror: b.csv:4: two [bold]\n" in shown


def test_json_errors_are_the_only_thing_on_stdout(capsys: pytest.CaptureFixture[str], fail_with: Fail) -> None:
    fail_with(DataError("one", where="a.csv:3", remedy="mend it"))
    assert main(["runs", "list", "--json"]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "error": {
            "exit_code": 2,
            "kind": "DataError",
            "faults": [{"what": "one", "where": "a.csv:3", "why": None, "remedy": "mend it"}],
        }
    }
    assert "a stray line" in shown.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted: the same command again resumes"),
        (Interrupted("stopped at step 7"), 130, "stopped at step 7"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a/x"), 2, "no space left on the disk of runs/a/x"),
        (MemoryError(), 2, "out of memory"),
    ],
)
def test_what_happens_to_a_process_has_its_own_message(
    capsys: pytest.CaptureFixture[str], fail_with: Fail, error: BaseException, code: int, words: str
) -> None:
    fail_with(error)
    assert main(["runs", "list"]) == code
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_a_fault_of_ours_is_written_to_a_log_not_to_the_screen(
    capsys: pytest.CaptureFixture[str], fail_with: Fail, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fail_with(ZeroDivisionError("division by zero"))
    assert main(["runs", "list"]) == 3
    shown = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: division by zero" in shown
    assert "please report it" in shown
    assert "Traceback" not in shown
    (log,) = tmp_path.glob("feinschliff-*.log")
    assert str(log) in shown
    assert "Traceback" in log.read_text(encoding="utf-8")


def test_a_closed_pipe_is_no_error_message(capsys: pytest.CaptureFixture[str], fail_with: Fail) -> None:
    fail_with(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert main(["runs", "list"]) == 1
    assert "error" not in capsys.readouterr().err
