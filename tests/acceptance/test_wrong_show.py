"""`data show` with files, models and options that are wrong; and what a run would be refused for: exit code 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.each_verb import Capture
from tests.acceptance.walk import Refusal, assert_no_traceback, assert_refused, call

USER, ANSWER = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "so."}
GOOD = json.dumps({"messages": [USER, ANSWER]}) + "\n"

WRONG = {
    "no_json.jsonl": (GOOD + '{"messages": [\n', (), Refusal("not a json object", "no_json.jsonl:2", "", "mend")),
    "empty.jsonl": ("", (), Refusal("the file is empty", "empty.jsonl")),
    "asks.jsonl": (
        json.dumps({"messages": [USER]}) + "\n",
        (),
        Refusal("no row can be used", "asks.jsonl", "no message of the assistant", "mend the rows"),
    ),
    "no_talks.csv": (
        "text,label\na text,good\n",
        ("--task.loss-on", "last"),
        Refusal("no conversations were found", "no_talks.csv", "columns: text, label"),
    ),
    "line.jsonl": (GOOD, ("--line", "4"), Refusal("no row begins at line 4", "line.jsonl", remedy="--line 1")),
    "kind.jsonl": (GOOD, ("--rows", "talks"), Refusal("data.rows = talks is not a choice", "command line")),
    "template.jsonl": (
        GOOD,
        ("--task.chat-template", "chatlm"),
        Refusal("chatlm: neither a chat template of the catalogue", "task.chat_template", remedy="chatml, llama3"),
    ),
    "broken.jsonl": (
        GOOD,
        ("--task.chat-template", "broken.jinja"),
        Refusal("this is no Jinja template", "broken.jinja:2", "Expected an expression", "mend the line"),
    ),
    "option.jsonl": (
        GOOD,
        ("--task.los-on", "last"),
        Refusal("unknown option --task.los-on", "command line", remedy="--task.loss-on"),
    ),
    "bert.jsonl": (GOOD, ("--model", "bert"), Refusal("is no decoder language model", "model.source")),
    "none.jsonl": (GOOD, ("--model", "no-such-model"), Refusal("no-such-model")),
    "squad.jsonl": (GOOD, ("--task", "squad"), Refusal("unknown task 'squad'", "--task", remedy="known: ")),
}


@pytest.mark.parametrize("name", WRONG)
def test_refused(name: str, desk: Path, tiny_decoder: Path, tiny_bert: Path, capsys: Capture) -> None:
    content, options, refusal = WRONG[name]
    (desk / name).write_text(content, encoding="utf-8")
    (desk / "broken.jinja").write_text("{{ bos_token }}\n{% for message in %}", encoding="utf-8")
    (desk / "bert").symlink_to(tiny_bert)
    model = () if "--model" in options else ("--model", str(tiny_decoder))
    assert_refused(call(capsys, "data", "show", name, *model, *options, "--json"), refusal)
    assert (desk / name).read_text(encoding="utf-8") == content


def test_a_file_that_is_not_there_and_none_at_all(desk: Path, capsys: Capture) -> None:
    (desk / "talks.jsonl").write_text(GOOD, encoding="utf-8")
    refused = call(capsys, "data", "show", "talk.jsonl", "--json")
    assert_refused(refused, Refusal("there is no file 'talk.jsonl'", remedy="talks.jsonl"))
    assert_refused(call(capsys, "data", "show", "--json"), Refusal("no data was given", "data.train"))


def test_a_starter_model_that_cannot_be_had(desk: Path, capsys: Capture) -> None:
    (desk / "talks.jsonl").write_text(GOOD, encoding="utf-8")
    refused = call(capsys, "data", "show", "talks.jsonl", "--json")
    assert refused.code == 2
    assert refused.document["error"]["kind"] == "ResourceError"
    assert_no_traceback(refused)


def test_what_a_run_would_be_refused_for(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    (desk / "talks.jsonl").write_text(GOOD, encoding="utf-8")
    model = ("--model", str(tiny_decoder))
    shown = call(capsys, "data", "show", "talks.jsonl", *model, "--task.chat-template", "llama3")
    assert shown.code == 1
    assert_no_traceback(shown)
    assert "refused: the template ends answers with no special token" in shown.out
    assert "a run on these rows would be refused" in shown.out
    document = call(capsys, "data", "show", "talks.jsonl", *model, "--task.chat-template", "llama3", "--json").document
    assert document["refusals"]
    assert document["template"]["origin"] == "catalogue"


def test_one_document(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    (desk / "talks.jsonl").write_text(GOOD * 4, encoding="utf-8")
    shown = call(capsys, "data", "show", "talks.jsonl", "--model", str(tiny_decoder), "-n", "2", "--json")
    assert shown.code == 0, shown
    row, other = shown.document["shown"]
    assert (row["line"], other["line"]) == (1, 2)
    assert len(row["ids"]) == len(row["tokens"]) == len(row["weights"]) == row["num_tokens"]
    assert (
        "".join(text for text, weight in zip(row["tokens"], row["weights"], strict=True) if weight) == "so.<|im_end|>"
    )
    assert shown.document["totals"]["training_rows"] == 4


def test_rows_are_a_number_or_a_kind(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    (desk / "talks.jsonl").write_text(GOOD * 4, encoding="utf-8")
    show = ("data", "show", "talks.jsonl", "--model", str(tiny_decoder), "--json")
    assert len(call(capsys, *show, "--rows", "2").document["shown"]) == 2
    shown = call(capsys, *show, "--rows", "conversations", "-n", "1").document
    assert (shown["columns"]["kind"], len(shown["shown"])) == ("conversations", 1)


def test_the_configuration_of_a_run_is_shown(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    (desk / "talks.jsonl").write_text(GOOD, encoding="utf-8")
    (desk / "run.yaml").write_text(
        f"data:\n  train: [talks.jsonl]\nmodel:\n  source: {tiny_decoder}\ntask:\n  type: sft\n  loss_on: [user]\n",
        encoding="utf-8",
    )
    shown = call(capsys, "data", "show", "--config", "run.yaml")
    assert shown.code == 0, shown
    assert "⟦why?<|im_end|>⟧" in shown.out
