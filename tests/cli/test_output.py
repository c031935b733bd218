"""What verbs print with: one JSON document on standard output, faults in words on standard error."""

from __future__ import annotations

import json
import sys

import pytest

from feinschliff.cli.output import emit, json_on_stdout, print_document, print_faults
from feinschliff.errors import Fault
from feinschliff.results.measures import Measure


def test_stray_prints_do_not_reach_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    with json_on_stdout():
        print("stray")
        print_document({"a": (1, 2), "b": Measure(value=1, low=0, high=2)})
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"a": [1, 2], "b": {"value": 1.0, "low": 0.0, "high": 2.0}}
    assert shown.err == "stray\n"
    print("after", file=sys.stdout)
    assert capsys.readouterr().out == "after\n"


def test_figures_that_json_has_no_word_for_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_document([float("nan"), Measure(value=float("inf"), low=0, high=1)])
    assert json.loads(capsys.readouterr().out) == [None, {"value": None, "low": 0.0, "high": 1.0}]


def test_text_stays_readable(capsys: pytest.CaptureFixture[str]) -> None:
    print_document({"label": "größe 🙂"})
    assert "größe 🙂" in capsys.readouterr().out


def test_people_or_programs(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": 1}, False, lambda out: out.print("for people"))
    assert capsys.readouterr().out == "for people\n"
    emit({"a": 1}, True, lambda out: out.print("for people"))
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_long_faults_are_not_wrapped_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_faults([Fault("x" * 300, where="a.csv:1", remedy="y [red]z[/red]")], "error", "red")
    assert capsys.readouterr().err == f"error: a.csv:1: {'x' * 300}\n  do:  y [red]z[/red]\n"
