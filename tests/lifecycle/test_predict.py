"""What a language model answers by `predict`: whole or cut, and which rows it cannot answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.walk import Refusal, assert_refused, call
from tests.lifecycle.test_precision import finished

Capture = pytest.CaptureFixture[str]
TEMPLATE = """{% for m in messages %}{% if 'forbidden' in m['content'] %}{{ raise_exception('not a word') }}{% endif %}\
<|im_start|>{{ m['role'] }}
{{ m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
SHORT, LONG, REFUSED = "And what then?", "Why? " * 80, "It is forbidden."
FEW = ("--max-new-tokens", "3", "--precision", "fp32")
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 3}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def chats(tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose template refuses a word. The model has 256 positions, a character is a token."""
    folder = tmp_path_factory.mktemp("chats")
    (folder / "careful.jinja").write_text(TEMPLATE, encoding="utf-8")
    task = {"type": "sft", "chat_template": str(folder / "careful.jinja")}
    return finished(tiny_decoder, folder / "run", "conversations", task=task)


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asking(*texts: str | None) -> str:
    """A file of conversations that wait for an answer; None: one without messages."""
    rows = [{"messages": [] if text is None else [{"role": "user", "content": text}]} for text in texts]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return "q.jsonl"


def test_what_fits_a_schema_is_whole_or_said_to_be_cut(chats: str, desk: Path, capsys: Capture) -> None:
    pytest.importorskip("llguidance", reason="pip install 'feinschliff[structured]'")
    (desk / "person.json").write_text(json.dumps(PERSON), encoding="utf-8")
    asked = ("predict", chats, "--file", asking("Who?", SHORT), "--json-schema", "person.json", "--precision", "fp32")
    whole = call(capsys, *asked, "--max-new-tokens", "60", "--json")
    assert [one["finish_reason"] for one in whole.document] == ["stop", "stop"]
    assert all(list(json.loads(one["written"])) == ["name"] for one in whole.document)
    assert "had not ended" not in whole.err
    cut = call(capsys, *asked, "--max-new-tokens", "4", "--json")
    assert [one["finish_reason"] for one in cut.document] == ["length", "length"]
    for one in cut.document:
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(one["written"])
    said = "2 of 2 answers had not ended after 4 tokens (task.max_new_tokens / --max-new-tokens)"
    assert f"{said}, so they are not complete JSON\n" in cut.err


def test_a_cut_answer_is_said_to_be_cut(chats: str, capsys: Capture) -> None:
    outcome = call(capsys, "predict", chats, "Who?", *FEW)
    assert "1 of 1 answers had not ended after 3 tokens (task.max_new_tokens / --max-new-tokens)\n" in outcome.err
    no_room = call(capsys, "predict", chats, "a" * 215, "--max-new-tokens", "200", "--precision", "fp32", "--json")
    assert no_room.document[0]["finish_reason"] == "length"
    assert "1 of 1 answers had not ended where the model has no more positions\n" in no_room.err


def test_rows_that_cannot_be_answered_do_not_cost_the_others(chats: str, capsys: Capture) -> None:
    asked = ("predict", chats, "--file", asking(SHORT, LONG, REFUSED, None, SHORT, LONG), *FEW)
    outcome = call(capsys, *asked, "--json")
    assert outcome.code == 0, outcome
    found = outcome.document
    assert [(one["file"], one["line"]) for one in found] == [("q.jsonl", line) for line in range(1, 7)]
    assert [one["written"] is not None for one in found] == [True, False, False, False, True, False]
    assert [one["finish_reason"] for one in found] == ["length", None, None, None, "length", None]
    assert found[0]["error"] is found[4]["error"] is None
    assert found[0]["written"] == found[4]["written"]
    wrong = ["the prompt is too long: it has", "the chat template refuses these messages: not a word", "no messages in"]
    for one, why in zip(found[1:4], wrong, strict=True):
        assert one["error"].startswith(why)
    assert "4 of 6 rows have no answer: q.jsonl:2 (the prompt is too long" in outcome.err
    assert "; q.jsonl:4 (no messages in column 'messages'); and 1 more\n" in outcome.err
    assert "2 of 2 answers had not ended" in outcome.err
    shown = call(capsys, *asked).out
    assert "q.jsonl:3: (no answer: the chat template refuses these messages: not a word)\n" in shown


def test_a_file_of_which_no_row_can_be_answered_is_refused(chats: str, capsys: Capture) -> None:
    asked = ("predict", chats, "--file", asking(LONG, REFUSED), *FEW, "--json")
    assert_refused(
        call(capsys, *asked),
        Refusal("the prompt is too long", "q.jsonl:1", "the model has positions for 256", "shorten it"),
        Refusal("the chat template refuses these messages: not a word", "q.jsonl:2", "", "roles"),
    )
    asking(*[LONG] * 23)
    faults = call(capsys, *asked).document["error"]["faults"]
    assert [fault["where"] for fault in faults[:-1]] == [f"q.jsonl:{line}" for line in range(1, 21)]
    assert faults[-1]["what"] == "... and 3 more"


def test_texts_are_refused_all_at_once_with_how_to_go_on(chats: str, capsys: Capture) -> None:
    outcome = call(capsys, "predict", chats, SHORT, LONG, REFUSED, *FEW, "--json")
    assert_refused(
        outcome,
        Refusal("the prompt is too long", "text 2"),
        Refusal("the chat template refuses these messages: not a word", "text 3"),
        Refusal("none of the 3 texts is answered", remedy="--file"),
    )
    alone = call(capsys, "predict", chats, LONG, *FEW, "--json").document["error"]["faults"]
    assert [fault["where"] for fault in alone] == ["text 1"]
    Path("texts.txt").write_text(f"{SHORT}\n{LONG}\n", encoding="utf-8")
    going_on = call(capsys, "predict", chats, "--file", "texts.txt", *FEW, "--json")
    assert [one["written"] is not None for one in going_on.document] == [True, False]


def test_sampling_reaches_the_model(chats: str, capsys: Capture) -> None:
    def written(*options: str) -> list[str]:
        asked = ("predict", chats, "Who?", SHORT, "What?", "--max-new-tokens", "12", "--precision", "fp32", "--json")
        return [one["written"] for one in call(capsys, *asked, *options).document]

    hot, likeliest = ("--temperature", "2"), written()
    drawn = written(*hot)
    assert drawn != likeliest
    assert written(*hot) == written(*hot, "--seed", "0") == drawn != written(*hot, "--seed", "1")
    assert written(*hot, "--top-k", "1") == written(*hot, "--min-p", "1") == likeliest
    assert written("--repetition-penalty", "100") != likeliest
