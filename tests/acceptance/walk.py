"""What every step of the walk shares: rows to learn from, a command line called or started, and what must always hold.

Knows no case.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from feinschliff import settings
from feinschliff.cli.main import main
from tests.conftest import REPOSITORY

COMMAND = (sys.executable, "-m", "feinschliff")
_WORDS = ["the", "my", "please", "help", "when", "new", "old", "day", "night", "work", "home", "city", "car", "train"]
_KINDS = {"delivery": ["parcel", "delivery", "late", "lost"], "refund": ["refund", "money", "account", "transfer"]}


def rows(count: int, labels: tuple[str, ...] = ("delivery", "refund"), seed: int = 0) -> list[tuple[str, str]]:
    """Texts that differ, with labels in turn."""
    rng = random.Random(seed)
    texts: dict[str, str] = {}
    while len(texts) < count:
        label = labels[len(texts) % len(labels)]
        texts.setdefault(" ".join([rng.choice(_KINDS[label]), *rng.choices(_WORDS, k=9)]), label)
    return list(texts.items())


def table(content: list[tuple[str, str]], header: str = "text,label") -> str:
    """As CSV."""
    return "".join(f"{line}\n" for line in (header, *(f"{text},{label}" for text, label in content)))


GOOD = table(rows(60))
"""61 lines: what is appended stands from line 62 on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one command line came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that is expected: words of what is wrong, where, why and what to do about it."""

    what: str
    where: str = ""
    why: str = ""
    remedy: str = ""

    def assert_in(self, faults: list[dict[str, str | None]]) -> None:
        """One of the faults says all of it."""
        wanted = {"what": self.what, "where": self.where, "why": self.why, "remedy": self.remedy}
        assert any(all(words in (fault[part] or "") for part, words in wanted.items()) for fault in faults), faults


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> Outcome:
    """One command line in this process."""
    capsys.readouterr()
    code = main(list(arguments))
    shown = capsys.readouterr()
    return Outcome(code, shown.out, shown.err)


def start(*arguments: str, cwd: Path, timeout_seconds: float = 120, **environment: str) -> Outcome:
    """One command line as a process of its own, to its end."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=child_environment(**environment),
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def child_environment(**changes: str) -> dict[str, str]:
    """The environment of a process of the walk."""
    return settings.child_environment(PYTHONPATH=str(REPOSITORY), OMP_NUM_THREADS="1", **changes)


def assert_refused(outcome: Outcome, *expected: Refusal, code: int = 2) -> None:
    """With ``--json``: the exit code, one document that carries every fault, the same in words, and no traceback."""
    assert outcome.code == code, outcome
    error = outcome.document["error"]
    assert error["exit_code"] == code
    for refusal in expected:
        refusal.assert_in(error["faults"])
    for fault in error["faults"]:
        assert fault["what"] in outcome.err
        assert fault["remedy"], f"no remedy: {fault}"
        assert fault["remedy"] in outcome.err
    assert_no_traceback(outcome)


def assert_no_traceback(outcome: Outcome) -> None:
    """Nothing of Python's own reaches a person."""
    for stream in (outcome.out, outcome.err):
        assert "Traceback" not in stream
        assert "unexpected" not in stream


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its bytes."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
