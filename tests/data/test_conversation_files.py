"""Conversations in every format's words: what comes back is what went in, or it was said what is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.conversation_columns import find_conversations, find_prompts
from feinschliff.data.conversation_files import COLUMNS, Unwritable, Written, written
from feinschliff.data.conversation_rows import ConversationReader
from feinschliff.data.conversations import Conversation, Message, WeightedSpan
from feinschliff.data.examples import Place
from feinschliff.data.load import load_examples, open_with_columns
from feinschliff.data.tables import Row

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 3}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
ASKED, ANSWERED = Message("user", "weather in Köln?"), Message("assistant", "sunny")
SINGLE = Conversation((ASKED, ANSWERED))
INSTRUCTED = Conversation((Message("system", "be brief"), ASKED, ANSWERED))
TURNS = Conversation(
    (Message("system", "be brief"), Message("user", "hi"), Message("assistant", "hello"), ASKED, ANSWERED)
)
CALLING = Conversation(
    (ASKED, Message("assistant", "", extra={"tool_calls": [CALL]}), Message("tool", '{"sky": "blue"}'), ANSWERED),
    (TOOL,),
)
TWO_CALLS = Conversation((ASKED, Message("assistant", "", extra={"tool_calls": [CALL, CALL]})), (TOOL,))
WEIGHTED = Conversation((ASKED, replace(ANSWERED, weight=0.0), ASKED, replace(ANSWERED, weight=0.25)))
SPANS = Conversation((ASKED, replace(ANSWERED, content="it is sunny!", spans=(WeightedSpan(6, 11, 0.5),))))
EVERYTHING = Conversation(
    (
        Message("developer", "be brief", extra={"name": "boss"}),
        ASKED,
        Message("assistant", "wait", 1.0, extra={"tool_calls": [{**CALL, "id": "a1"}], "reasoning_content": "hm"}),
        Message("tool", "blue", extra={"tool_call_id": "a1"}),
        ANSWERED,
        Message("user", "thanks"),
    ),
    (TOOL,),
    parallel_tool_calls=False,
)
TALKS = {
    "one turn": SINGLE,
    "instructed": INSTRUCTED,
    "several turns": TURNS,
    "tools": CALLING,
    "two calls": TWO_CALLS,
    "weights": WEIGHTED,
    "weights of parts": SPANS,
    "everything": EVERYTHING,
    "answers first": Conversation((ANSWERED, ASKED, ANSWERED)),
    "two answers": Conversation((ASKED, ANSWERED, ANSWERED)),
    "a system between": Conversation((ASKED, ANSWERED, Message("system", "now rude"), ASKED, ANSWERED)),
}


def reread(row: Written) -> Conversation:
    """What is found in the row after a file: its format is recognised by itself."""
    cells = json.loads(json.dumps(dict(row.cells)))
    rows = [Row(cells, Place("a.jsonl", 1))]
    columns = find_conversations(list(cells), rows, DataConfig())
    columns = columns or find_prompts(list(cells), rows, DataConfig())
    assert columns is not None
    example = ConversationReader(columns, keeps_end=True).example(rows[0])
    assert example is not None
    assert example.conversation is not None
    return example.conversation


@pytest.mark.parametrize("kind", TALKS)
def test_openai_says_everything(kind: str) -> None:
    row = written(TALKS[kind], "openai")
    assert row.lost == ()
    assert reread(row) == TALKS[kind]
    assert set(row.cells) <= set(COLUMNS["openai"])


def test_openai_has_arguments_as_text_and_null_beside_calls() -> None:
    row = written(CALLING, "openai")
    message = row.cells["messages"][1]  # type: ignore[index]
    assert message["content"] is None
    assert message["tool_calls"][0]["function"]["arguments"] == '{"city": "Köln", "days": 3}'
    weights = [one.get("weight") for one in written(WEIGHTED, "openai").cells["messages"]]  # type: ignore[attr-defined]
    assert str(weights) == "[None, 0, None, 0.25]"


@pytest.mark.parametrize("kind", [kind for kind in TALKS if kind not in ("everything", "weights of parts")])
def test_what_sharegpt_can_say_comes_back(kind: str) -> None:
    row = written(TALKS[kind], "sharegpt")
    assert row.lost == ()
    there = reread(row)
    assert there == TALKS[kind]
    assert reread(written(there, "openai")) == TALKS[kind]


def test_sharegpt_is_written_as_llama_factory_reads_it() -> None:
    row = written(replace(CALLING, messages=(INSTRUCTED.messages[0], *CALLING.messages)), "sharegpt")
    assert row.cells["system"] == "be brief"
    assert json.loads(str(row.cells["tools"])) == [TOOL["function"]]
    turns: list[dict[str, str]] = row.cells["conversations"]  # type: ignore[assignment]
    assert [turn["from"] for turn in turns] == ["human", "function_call", "observation", "gpt"]
    assert json.loads(turns[1]["value"]) == CALL["function"]


def test_what_sharegpt_cannot_say() -> None:
    assert written(SPANS, "sharegpt").lost == ("weights of parts",)
    with pytest.raises(Unwritable, match="a tool call and a text in one message"):
        written(EVERYTHING, "sharegpt")
    silent = replace(EVERYTHING.messages[2], content="")
    row = written(
        replace(EVERYTHING, messages=(*EVERYTHING.messages[:2], silent, *EVERYTHING.messages[3:])), "sharegpt"
    )
    assert set(row.lost) == {
        "parallel_tool_calls",
        "name",
        "the role developer",
        "reasoning_content",
        "tool_call_id",
        "ids of tool calls",
    }


@pytest.mark.parametrize("kind", ["one turn", "instructed", "several turns"])
def test_what_alpaca_can_say_comes_back(kind: str) -> None:
    row = written(TALKS[kind], "alpaca")
    assert row.lost == ()
    assert reread(row) == TALKS[kind]


@pytest.mark.parametrize("kind", ["one turn", "instructed"])
def test_what_prompts_and_completions_can_say_comes_back(kind: str) -> None:
    row = written(TALKS[kind], "prompt_completion")
    assert row.lost == ()
    assert reread(row) == TALKS[kind]


@pytest.mark.parametrize("name", ["alpaca", "prompt_completion"])
def test_what_they_cannot_say(name: str) -> None:
    for talk in (CALLING, TWO_CALLS):
        with pytest.raises(Unwritable, match="calls of tools"):
            written(talk, name)
    for kind in ("answers first", "two answers", "a system between"):
        with pytest.raises(Unwritable, match="anything but turns of user and assistant"):
            written(TALKS[kind], name)
    with pytest.raises(Unwritable, match="anything but turns"):
        written(Conversation((*SINGLE.messages, ASKED)), name)
    with pytest.raises(Unwritable, match="one word that tables have for nothing"):
        written(Conversation((ASKED, Message("assistant", "null"))), name)
    last = replace(ANSWERED, weight=0.5, extra={"reasoning_content": "hm"}, spans=(WeightedSpan(0, 2, 0.1),))
    first = Message("developer", "be brief")
    lost = written(Conversation((first, ASKED, last), (TOOL,), True), name).lost
    assert set(lost) == {
        "weights of messages",
        "weights of parts",
        "reasoning_content",
        "tools",
        "parallel_tool_calls",
        "the role developer",
    }
    assert len(lost) == len(set(lost))


@pytest.mark.parametrize("name", ["alpaca", "prompt_completion", "sharegpt"])
def test_what_is_never_learned_stays_so_or_is_not_written(name: str) -> None:
    part = Conversation((ASKED, replace(ANSWERED, spans=(WeightedSpan(0, 2, 0.0),))))
    with pytest.raises(Unwritable, match=f"{name} cannot say that a part of an answer is not to be learned"):
        written(part, name)
    question = Conversation((replace(ASKED, weight=0.0), ANSWERED))
    assert written(question, name).lost == (() if name == "sharegpt" else ("weights of messages",))
    talks = [Conversation((ASKED, replace(ANSWERED, weight=0.0)))]
    if name == "alpaca":
        talks.append(Conversation((*talks[0].messages, ASKED, ANSWERED)))
    for talk in talks:
        if name == "sharegpt":
            assert [one.weight for one in reread(written(talk, name)).messages] == [None, 0.0]
            continue
        with pytest.raises(Unwritable, match=f"{name} cannot say that an answer is not to be learned"):
            written(talk, name)


def test_a_prompt_with_one_completion_has_one_turn() -> None:
    with pytest.raises(Unwritable, match="several turns"):
        written(TURNS, "prompt_completion")


def test_real_tool_calls_go_through_openai_and_come_back(shared_data: Path) -> None:
    source = str(shared_data / "llamafactory_demo" / "glaive_toolcall_en_demo.json")
    columns = open_with_columns((source,), DataConfig())[1]
    rows = json.loads(Path(source).read_text(encoding="utf-8"))
    examples = load_examples([source], DataConfig(), columns)[0]
    for given, example in zip(rows, examples, strict=True):
        assert example.conversation is not None
        there = reread(written(example.conversation, "openai"))
        assert there == example.conversation
        back = written(there, "sharegpt")
        assert back.lost == ()
        turns: list[dict[str, str]] = back.cells["conversations"]  # type: ignore[assignment]
        for one, other in zip(given["conversations"], turns, strict=True):
            assert one["from"] == other["from"]
            is_call = one["from"] == "function_call"
            assert (json.loads(one["value"]) if is_call else one["value"]) == (
                json.loads(other["value"]) if is_call else other["value"]
            )
        assert json.loads(given["tools"] or "[]") == json.loads(str(back.cells.get("tools", "[]")))
