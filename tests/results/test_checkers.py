"""Checks as a person configures them: what they say of answers, and every fault at once before a run."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.load import load_run_config
from feinschliff.errors import ConfigError, DataError
from feinschliff.results.check_files import Written
from feinschliff.results.checkers import (
    check_scores,
    default_checks,
    load_checks,
    num_without_answer,
    syntax_faults,
    whole_checks,
)


def row(answer: str, *references: str) -> Written:
    return Written("what?", answer, references, "test.jsonl:7")


def score(asked: str, answer: str, *references: str, folder: Path = Path()) -> float:
    return check_scores(load_checks([asked], folder)[0], [row(answer, *references)])[0]


@pytest.mark.parametrize(
    ("asked", "answer", "reference", "expected"),
    [
        ("n=last_number", "It makes 9 + 9 = $18.00.", "16 - 3 ...\n#### 18", 1.0),
        ("n=last_number", "It makes 19.", "#### 18", 0.0),
        ("n=last_number", "I do not know", "I do not know", 0.0),
        ("gsm8k=after:####", "so\n#### 1,000", "...\n#### 1000", 1.0),
        ("gsm8k=after:####", "It is 18", "#### 18", 0.0),
        ("gsm8k=after:####", "#### 18", "18", 1.0),
        ("b=boxed", r"\boxed{\frac{1}{2}}", r"so \boxed{0.5}.", 1.0),
        ("c=choice:ABCD", "The answer is (B).", "B", 1.0),
        ("c=choice", "C) it is", "(B)", 0.0),
        (r"e=extract:answer: (\w+)", "well, answer: Paris", "answer: paris", 1.0),
        ("f=json_field:result.id", '{"result": {"id": 7}}', '{"result": {"id": 7.0}}', 1.0),
        ("f=json_field:id", '{"result": 7}', "7", 0.0),
        (r"v=regex:^\{.*\}$", "{a}", "", 1.0),
        (r"v=regex:^\{.*\}$", "{a} b", "", 0.0),
        ("j=json", '[1, {"a": null}]', "", 1.0),
        ("j=json", '```json\n{"a": 1}\n```', "", 0.0),
    ],
)
def test_each_kind(asked: str, answer: str, reference: str, expected: float) -> None:
    assert score(asked, answer, reference) == expected


def test_any_reference_may_be_met() -> None:
    assert score("n=last_number", "42", "#### 41", "#### 42") == 1.0


def test_a_check_that_compares_needs_references_and_says_what_it_could_not_take_out() -> None:
    check = load_checks(["gsm8k=after:####"])[0]
    rows = [row("#### 1", "#### 1"), row("it is 1", "#### 1")]
    assert (check_scores(check, rows), num_without_answer(check, rows)) == ([1.0, 0.0], 1)
    with pytest.raises(DataError, match=r"test\.jsonl:7: check gsm8k compares with a reference, and 1 rows have none"):
        check_scores(check, [row("#### 1")])
    assert score("v=regex:^a", "abc") == 1.0
    assert num_without_answer(load_checks(["v=regex:^a"])[0], rows) == 0


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}


def test_json_schemas(tmp_path: Path) -> None:
    (tmp_path / "person.json").write_text(json.dumps(SCHEMA))
    asked = "person=json_schema:person.json"
    answers = (
        '{"name": "Ada", "age": 36}',
        '{"age": 36}',
        '{"name": "Ada", "age": -1}',
        "Ada",
        '{"name": "A", "x": 1}',
    )
    assert [score(asked, answer, folder=tmp_path) for answer in answers] == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_schemas_elsewhere_are_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "far.json").write_text('{"$ref": "http://localhost:1/schema.json"}')
    with pytest.raises(ConfigError, match=r"refers to 'http://localhost:1/schema\.json', which is not in it"):
        score("far=json_schema:far.json", "1", folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "is not JSON"), ('{"type": "objekt"}', "no JSON schema"), (None, "there is no file")],
    ids=["json", "schema", "missing"],
)
def test_schemas_that_cannot_be_used(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_checks(["s=json_schema:s.json"], tmp_path)


FUNCTIONS = """
import re
import subprocess
from dataclasses import dataclass

import jsonschema
import numpy as np

from feinschliff.errors import DataError

@dataclass
class Length:
    most: int

def score(prompt, answer, reference):
    return answer == reference

def short(prompt, answer, reference):
    return min(1.0, Length(4).most / len(answer))

def numpys(prompt, answer, reference):
    return np.bool_(reference is None)

def divides(prompt, answer, reference):
    return 1 / len(answer)

def two(prompt, answer):
    return 1

def over(prompt, answer, reference):
    return len(answer)

def nothing(prompt, answer, reference):
    pass

def own(prompt, answer, reference):
    raise type("Odd", (Exception,), {})("mine")

def expression(prompt, answer, reference):
    return re.search("(", answer)

def schema(prompt, answer, reference):
    jsonschema.validate("3", {"type": "number"})

def patience(prompt, answer, reference):
    subprocess.run(["sleep", "5"], timeout=0.01)

class Odd:
    def __float__(self):
        raise RuntimeError("not one number")

def odd_number(prompt, answer, reference):
    return Odd()

def stops(prompt, answer, reference):
    raise KeyboardInterrupt("as it is")

def ours(prompt, answer, reference):
    raise DataError("as it is")

number = 3
"""


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    (tmp_path / "checks.py").write_text(FUNCTIONS)
    return tmp_path


def test_functions_of_a_persons_own(functions: Path) -> None:
    assert score("m=python:checks.py", "a", "b", "a", folder=functions) == 1.0
    assert score("m=python:checks.py:score", "a", "b", folder=functions) == 0.0
    assert score("m=python:checks.py:short", "12345678", folder=functions) == 0.5
    assert score("m=python:checks.py:numpys", "a", folder=functions) == 1.0


def test_errors_in_them_are_told_with_rows_and_lines(functions: Path) -> None:
    check = load_checks(["d=python:checks.py:divides"], functions)[0]
    rows = [Written("q", "a" * (i % 2), (), f"test.jsonl:{i}") for i in range(20)]
    with pytest.raises(ConfigError) as caught:
        check_scores(check, rows)
    faults = caught.value.faults
    assert [fault.where for fault in faults] == [
        "test.jsonl:0",
        "test.jsonl:2",
        "test.jsonl:4",
        "test.jsonl:6",
        "test.jsonl:8",
    ]
    line = FUNCTIONS.splitlines().index("    return 1 / len(answer)") + 1
    assert faults[0].what.endswith(f"checks.py:{line}")
    assert faults[0].why == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("function", "says"),
    [("over", "gave 3"), ("nothing", "gave 'None'")],
)
def test_results_that_are_no_shares(functions: Path, function: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"test\.jsonl:7: check m: {function}\(\) of checks\.py gave"):
        score(f"m=python:checks.py:{function}", "abc", folder=functions)


OWN = FUNCTIONS.splitlines().index('    raise type("Odd", (Exception,), {})("mine")') + 1


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("own", rf"checks\.py:{OWN}\n  why: Odd: mine\n  do:  mend the file"),
        ("expression", r"checks\.py:\d+\n  why: error: missing \)"),
        ("schema", r"checks\.py:\d+\n  why: ValidationError: '3' is not of type"),
        ("patience", r"checks\.py:\d+\n  why: TimeoutExpired: Command"),
        ("odd_number", r"\(\) failed in .*checks\.py:\d+\n  why: RuntimeError: not one number"),
    ],
)
def test_an_error_of_any_kind_is_not_swallowed(functions: Path, function: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        score(f"m=python:checks.py:{function}", "abc", folder=functions)
    assert caught.value.faults[0].where == "test.jsonl:7"


@pytest.mark.parametrize(("function", "error"), [("stops", KeyboardInterrupt), ("ours", DataError)])
def test_who_stops_it_and_what_we_raise_ourselves_pass(
    functions: Path, function: str, error: type[BaseException]
) -> None:
    with pytest.raises(error, match="as it is"):
        score(f"m=python:checks.py:{function}", "abc", folder=functions)


def test_a_file_is_run_once_until_it_is_changed(tmp_path: Path) -> None:
    """However often, and by however many checks, it is named."""
    file, log = tmp_path / "once.py", tmp_path / "log"
    text = f"open({str(log)!r}, 'a').write('x')\ndef score(*_): return {{}}\ndef other(*_): return 1"
    file.write_text(text.format("0.25"))
    for _ in range(3):
        assert score("m=python:once.py", "a", folder=tmp_path) == 0.25
        assert score("n=python:once.py:other", "a", folder=tmp_path) == 1.0
    assert log.read_text() == "x"
    file.write_text(text.format("0.5 + 0"))
    assert score("m=python:once.py", "a", folder=tmp_path) == 0.5
    assert log.read_text() == "xx"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def score(:", r"failed in .*bad\.py:1: SyntaxError"),
        ("import nowhere_to_be_found", r"failed in .*bad\.py:1: ModuleNotFoundError: No module named 'nowhere"),
        ("\n\n1 / 0", r"failed in .*bad\.py:3: ZeroDivisionError"),
        ("raise SystemExit(3)", r"failed in .*bad\.py:1: SystemExit: 3"),
        ("score = 3", "has no function score"),
        ("def score(prompt, answer): ...", "does not take three arguments"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_checks(["m=python:bad.py:score"], tmp_path)


def test_only_python_files_are_run(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("raise RuntimeError('run')")
    with pytest.raises(ConfigError, match="is not a Python file"):
        load_checks(["m=python:rows.jsonl"], tmp_path)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "refers to '#/$defs/b', which is not in it"),
        ({"anyOf": [{}, {"$ref": "https://example.org/other.json"}]}, "refers to 'https://example.org/other.json'"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": {"$ref": "#x"}}, "refers to '#x'"),
        ({"$dynamicRef": "#x", "not": {"$ref": "y"}}, "refers to '#x', 'y', which is not in it"),
        ({"$ref": "#"}, "cannot be followed"),
        ({"$schema": ["x"]}, "is no JSON schema"),
        (3, "is no JSON schema"),
        ({"pattern": "("}, "is no JSON schema"),
    ],
)
def test_all_that_is_wrong_with_a_schema_is_said_before_a_row_is_read(
    tmp_path: Path, schema: object, says: str
) -> None:
    (tmp_path / "s.json").write_text(json.dumps(schema))
    with pytest.raises(ConfigError, match=re.escape(says)):
        load_checks(["s=json_schema:s.json"], tmp_path)


def test_a_reference_that_only_a_row_leads_to(tmp_path: Path) -> None:
    schema = {"additionalProperties": {"$ref": "#/unknown/x"}, "unknown": {"x": {"$ref": "other.json"}}}
    (tmp_path / "s.json").write_text(json.dumps(schema))
    with pytest.raises(ConfigError, match=r"test\.jsonl:7: check s: .*refers to 'other\.json', which is not in it"):
        score("s=json_schema:s.json", '{"a": 1}', folder=tmp_path)


def test_references_that_hold_are_followed(tmp_path: Path) -> None:
    inner = {"$id": "https://example.org/n", "$anchor": "n", "type": "number"}
    schema = {
        "$defs": {"n": inner},
        "properties": {"$ref": {"$ref": "#/$defs/n"}, "b": {"$ref": "https://example.org/n#n"}},
    }
    (tmp_path / "s.json").write_text(json.dumps(schema))
    assert score("s=json_schema:s.json", '{"$ref": 3, "b": 4}', folder=tmp_path) == 1.0
    assert score("s=json_schema:s.json", '{"$ref": 3, "b": "4"}', folder=tmp_path) == 0.0


def test_every_fault_at_once(tmp_path: Path) -> None:
    asked = [
        "v=regex:(", "v=last_numbr", "last_number", "n=last_number:3", "a=after", "loss=json", "ndcg_at_3=json",
        "Big=json", "c=choice:xyz", "e=extract:abc", "m=python:nope.py", "s=json_schema:nope.json", "fine=json",
    ]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        load_checks(asked, tmp_path)
    told = [(fault.what.split("'")[1], fault.why) for fault in caught.value.faults]
    assert [name for name, _ in told] == [
        "v=regex:(", "v=last_numbr", "v=last_numbr", "last_number", "n=last_number:3", "a=after", "loss=json",
        "ndcg_at_3=json", "Big=json", "c=choice:xyz", "e=extract:abc", "m=python:nope.py", "s=json_schema:nope.json",
    ]  # fmt: skip
    assert all(fault.where == "evaluation.checks" for fault in caught.value.faults)
    assert told[1][1] == "the name v is given twice"
    assert caught.value.faults[2].remedy == "did you mean last_number?"


def test_before_files_are_opened_only_the_form_is_looked_at() -> None:
    assert syntax_faults(["m=python:nope.py", "s=json_schema:nope.json", "fine=json"]) == []
    assert len(syntax_faults(["m=python", "x=extract:("])) == 2


def test_commas_within_an_argument_survive_the_command_line() -> None:
    config, _ = load_run_config(None, ["--evaluation.checks", "valid=regex:^a{1,2}$,n=last_number"])
    assert config.evaluation.checks == ("valid=regex:^a{1,2}$", "n=last_number")
    assert whole_checks(["a=json", "json"]) == ("a=json", "json")
    assert whole_checks(["x", "y"]) == ("x,y",)


def test_the_configuration_refuses_what_cannot_be_made() -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config(None, {"evaluation": {"checks": ["v=regex:(", "n=number"], "confidence": 3}})
    assert [fault.where for fault in caught.value.faults] == ["evaluation.confidence", "evaluation.checks"]
    why = caught.value.faults[1].why or ""
    assert "does not compile" in why
    assert "there is no kind 'number' (did you mean last_number?)" in why
    assert EvaluationConfig().checks == ()


def test_marked_references_are_recognised() -> None:
    gsm8k = [["1 + 1\n#### 2"]] * 9 + [["no mark"]]
    assert default_checks(gsm8k)[0] == ("extracted_match=after:####",)
    assert default_checks([[r"so \boxed{2}"]] * 3)[0] == ("extracted_match=boxed",)
    asked, says = default_checks([["1 + 1\n#### 2"]] * 8 + [["no mark"]] * 2)
    assert asked == ()
    assert "--evaluation.checks" in says
    assert default_checks([])[0] == ()


def test_real_references(shared_data: Path) -> None:
    lines = (shared_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    asked, says = default_checks([[answer] for answer in answers])
    assert (asked, says.split(" references")[0]) == (("extracted_match=after:####",), "all")
    check = load_checks(asked)[0]
    assert set(check_scores(check, [row(answer, answer) for answer in answers])) == {1.0}
    moved = [row(answer, other) for answer, other in pairwise(answers)]
    assert sum(check_scores(check, moved)) < 0.05 * len(moved)
