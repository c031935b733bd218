"""Questions in SQuAD's own format, from file to export: what is learned, said and refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.walk import Refusal, assert_no_traceback, assert_refused, call

Train = Callable[..., list[str]]
Capture = pytest.CaptureFixture[str]
WORDS = ["movie", "film", "book", "card", "bank", "order", "refund", "late", "lost", "train", "city", "food", "house"]


def squad(num_texts: int, unanswerable: bool = True) -> str:
    """Texts of words by chance, two questions each; to the second there is no answer."""
    rng, paragraphs = random.Random(0), []
    for number in range(num_texts):
        words = rng.choices(WORDS, k=14)
        place = rng.randrange(14)
        colour = rng.choice(["red", "blue", "green"])
        context = " ".join([*words[:place], colour, *words[place:]])
        answer = {"text": colour, "answer_start": context.index(colour)}
        qas: list[dict[str, object]] = [{"id": f"a{number}", "question": "what colour is it", "answers": [answer]}]
        if unanswerable:
            qas.append({"id": f"b{number}", "question": "who was sad", "answers": [], "is_impossible": True})
        paragraphs.append({"context": context, "qas": qas})
    articles = [{"title": f"T{n}", "paragraphs": [one]} for n, one in enumerate(paragraphs)]
    return json.dumps({"version": "v2.0", "data": articles})


def test_from_file_to_export(desk: Path, train: Train, capsys: Capture) -> None:
    (desk / "squad.json").write_text(squad(40), encoding="utf-8")
    trained = call(capsys, *train("squad.json", epochs=4))
    assert trained.code == 0, trained
    assert trained.document["metric"] == "answer_f1"
    assert "task question_answering" in trained.err
    text = "train city blue food"
    asked = call(capsys, "predict", "runs/new", "what colour is it", text, "--json")
    (found,) = asked.document
    assert set(found["scores"]) & {"blue", "(no answer)", "city", "train", "food"}
    for span in found["spans"]:
        assert text[span["start"] : span["end"]] == span["text"]
    assert call(capsys, "predict", "runs/new", "what colour is it", text).code == 0
    judged = call(capsys, "evaluate", "runs/new", "--json")
    assert {"exact_match", "answer_f1", "no_answer_accuracy"} <= set(judged.document["metrics"])
    again = call(capsys, "evaluate", "runs/new", "squad.json", "--json")
    assert again.document["rows"] == 80
    written = call(capsys, "export", "runs/new", "--output-dir", "out", "--json")
    assert written.document["largest_difference"] < 1e-4
    card = (desk / "out" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: question-answering" in card
    assert "AutoModelForQuestionAnswering" in card


def test_wrong_files_are_refused(desk: Path, train: Train, capsys: Capture) -> None:
    (desk / "data.csv").write_text("question,context,answer_text,answer_start\nWho?,Ann sang,Bob,0\nWhat?,Ann sang,,\n")
    few = Refusal("0 usable rows", "data.csv", "1 the answer does not stand in the text", "some dozens of rows")
    assert_refused(call(capsys, *train("data.csv")), few)
    (desk / "labels.csv").write_text("text,label\none,a\ntwo,b\n")
    wanted = Refusal("no columns of a question, a text and its answers", "labels.csv", "question, context", "--text")
    assert_refused(call(capsys, *train("labels.csv"), "--task", "question_answering"), wanted)
    (desk / "one.json").write_text(squad(1))
    assert_refused(call(capsys, *train("one.json")), Refusal("2 usable rows: too few", "one.json"))


def test_what_is_dropped_is_listed_with_its_place(desk: Path, train: Train, capsys: Capture) -> None:
    content = json.loads(squad(30, unanswerable=False))
    for number, start in ((3, 0), (5, 999)):
        content["data"][number]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = start
    content["data"][7]["paragraphs"][0]["qas"][0]["answers"][0]["text"] = "violet"
    (desk / "squad.json").write_text(json.dumps(content))
    trained = call(capsys, *train("squad.json"))
    assert trained.code == 0, trained
    assert "2 answers do not stand at their answer_start; they were found in the text" in trained.err
    dropped = (desk / "runs" / "new" / "dropped.csv").read_text()
    assert "squad.json,8,the answer does not stand in the text: 'violet'" in dropped
    assert_no_traceback(trained)
    checked = call(capsys, "data", "check", "squad.json", "--model", "none")
    assert "the answer does not stand in the text" in checked.out
