"""Rows to conversations: every format's words, what cannot be used and why, what is asked and what is answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.conversation_rows import ConversationReader
from feinschliff.data.conversations import Conversation, Message, WeightedSpan, as_text
from feinschliff.data.examples import Example, Place
from feinschliff.data.load import load_examples, load_splits, open_with_columns
from feinschliff.data.row_kinds import reader_of
from feinschliff.data.tables import Row
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound

USER = {"role": "user", "content": "what is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "4"}
CALL = {"name": "weather", "arguments": '{"city": "Köln"}'}
READ_CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln"}}}
LIST = ColumnsFound(
    text=["messages"],
    target=None,
    kind="conversations",
    conversations="openai",
    parts={"tools": "tools", "functions": "functions", "parallel_tool_calls": "parallel", "system": "system"},
)
PROMPT = ColumnsFound(
    text=["instruction"],
    target="output",
    kind="conversations",
    conversations="alpaca",
    parts={"input": "input", "history": "history", "system": "system"},
)


def reading(columns: ColumnsFound, cells: dict[str, Any], needs_labels: bool = True) -> tuple[Example | None, str]:
    """The example of a row, or the reason why there is none."""
    reader = reader_of(columns, needs_labels)
    example = reader.example(Row(cells, Place("rows.jsonl", 7)))
    assert (example is None) == bool(reader.dropped)
    if reader.dropped:
        assert (reader.dropped[0].file, reader.dropped[0].line) == ("rows.jsonl", 7)
    return example, "".join(row.reason for row in reader.dropped)


def test_where_a_completion_begins_is_known() -> None:
    said = [USER, ANSWER, USER]
    for cells, start in (
        ({"instruction": said, "output": "4"}, 3),
        ({"instruction": said, "output": [ANSWER, USER, ANSWER], "system": "Be brief"}, 4),
        ({"instruction": "2 + 2", "output": "4", "history": [["1 + 1", "2"]]}, 3),
    ):
        example, why = reading(PROMPT, cells)
        assert example is not None, why
        assert example.conversation is not None
        assert example.conversation.completion_start == start
    assert talk(USER, ANSWER).completion_start is None


def talk(*messages: object, **cells: Any) -> Conversation:
    example, why = reading(LIST, {"messages": list(messages), **cells})
    assert example is not None, why
    assert example.conversation is not None
    return example.conversation


def why_not(*messages: object, **cells: Any) -> str:
    return reading(LIST, {"messages": list(messages), **cells})[1]


def test_the_last_answer_is_the_target_and_all_before_it_the_prompt() -> None:
    system = {"role": "system", "content": "be brief"}
    example, _ = reading(LIST, {"messages": [system, USER, ANSWER]})
    assert example is not None
    assert example.texts == ("be brief\nwhat is 2 + 2?",)
    assert example.references == ("4",)
    single, _ = reading(LIST, {"messages": [USER, ANSWER]})
    assert single is not None
    assert single.texts == ("what is 2 + 2?",)
    more, _ = reading(LIST, {"messages": [USER, ANSWER, {"role": "user", "content": "sure?"}, ANSWER]})
    assert more is not None
    assert more.texts == ("user: what is 2 + 2?\nassistant: 4\nuser: sure?",)
    asked = more.without_target()
    assert asked.references == ()
    assert asked.conversation is not None
    assert [message.content for message in asked.conversation.messages] == ["what is 2 + 2?", "4", "sure?"]


def test_weights_of_messages_and_of_parts() -> None:
    parts = [{"type": "text", "text": "it is "}, {"type": "text", "text": "4", "weight": 0.5}, "."]
    found = talk(USER, {**ANSWER, "weight": 0}, USER, {"role": "assistant", "content": parts, "weight": 1})
    assert [message.weight for message in found.messages] == [None, 0.0, None, 1.0]
    assert found.messages[-1].content == "it is 4."
    assert found.messages[-1].spans == (WeightedSpan(6, 7, 0.5),)


@pytest.mark.parametrize("weight", [2, -0.1, "1", True, float("nan")])
def test_weights_out_of_range(weight: object) -> None:
    assert why_not(USER, {**ANSWER, "weight": weight}).startswith(
        "a weight that is not a number from 0 to 1: message 2"
    )


@pytest.mark.parametrize(
    "given",
    [
        {"tool_calls": [{"type": "function", "function": CALL, "id": "a1"}]},
        {"tool_calls": [{"function": {**CALL, "arguments": {"city": "Köln"}}, "id": "a1"}]},
        {"tool_calls": json.dumps([{**CALL, "id": "a1"}])},
    ],
)
def test_tool_calls_have_one_form(given: dict[str, Any]) -> None:
    found = talk(USER, {"role": "assistant", "content": None, **given})
    assert found.messages[1].extra == {"tool_calls": [{**READ_CALL, "id": "a1"}]}
    assert found.messages[1].content == ""
    assert found.messages[1].as_given()["tool_calls"][0]["function"]["arguments"] == {"city": "Köln"}


def test_older_function_calls_and_their_results() -> None:
    result = {"role": "function", "name": "weather", "content": "sunny"}
    found = talk(USER, {"role": "assistant", "content": None, "function_call": CALL}, result, ANSWER)
    assert found.messages[1].extra["tool_calls"] == [READ_CALL]
    assert found.messages[2] == Message("tool", "sunny", extra={"name": "weather"})


def test_a_call_of_a_tool_is_an_answer() -> None:
    example, _ = reading(LIST, {"messages": [USER, {"role": "assistant", "content": "wait", "tool_calls": [CALL]}]})
    assert example is not None
    assert example.references == ('wait\n[{"name": "weather", "arguments": {"city": "Köln"}}]',)


@pytest.mark.parametrize("arguments", ['{"city": ', "[1]", "Köln", 3])
def test_arguments_that_are_no_object(arguments: object) -> None:
    call = {"function": {"name": "weather", "arguments": arguments}}
    reason = why_not(USER, {"role": "assistant", "content": None, "tool_calls": [call]})
    assert reason.startswith("arguments of a tool call that are not a JSON object: message 2 (it says ")


def test_tools_are_put_into_one_form() -> None:
    bare = {"name": "weather", "parameters": {"type": "object"}}
    wrapped = {"type": "function", "function": bare}
    for given in ([wrapped], [bare], json.dumps([bare]), json.dumps(bare), [{"function": bare}]):
        assert talk(USER, ANSWER, tools=given).tools == (wrapped,)
    assert talk(USER, ANSWER, functions=[bare]).tools == (wrapped,)
    assert talk(USER, ANSWER, tools="", parallel=False).parallel_tool_calls is False
    assert talk(USER, ANSWER, tools="").tools == ()
    assert why_not(USER, ANSWER, tools="[{").startswith("column 'tools' holds no JSON list of tools (it says '[{')")
    assert why_not(USER, ANSWER, tools=[{"parameters": {}}]).startswith("column 'tools' holds a tool without a name")


WRONG: dict[str, tuple[Sequence[object], str]] = {
    "no message": ([], "no messages in column 'messages'"),
    "no answer": ([USER], "no message of the assistant"),
    "an empty answer": ([USER, {"role": "assistant", "content": " \n"}], "an empty answer: message 2"),
    "null": ([USER, {"role": "assistant", "content": None}], "an empty answer: message 2"),
    "a refusal alone": (
        [USER, {"role": "assistant", "content": None, "refusal": "no"}],
        "an empty answer: message 2",
    ),
    "an empty question": ([{"role": "user", "content": ""}, ANSWER], "an empty message: message 1 (user)"),
    "role": ([USER, {"role": "narrator", "content": "x"}], "an unknown role: message 2 (it says 'narrator')"),
    "no role": ([{"content": "x"}, ANSWER], "a message without a role: message 1"),
    "a number": ([USER, {"role": "assistant", "content": 4}], "a content that is not a text: message 2 holds a number"),
    "an object": ([USER, {**ANSWER, "content": {}}], "a content that is not a text: message 2 holds an object"),
    "a picture": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER],
        "a part that is not a text: message 1 (it says 'image_url')",
    ),
    "a part without text": (
        [{"role": "user", "content": [{"type": "text"}]}, ANSWER],
        "a part that is not a text: message 1 holds nothing (null)",
    ),
    "no object": ([USER, "4"], "a message that is not an object: message 2 is a text"),
    "a user's call": ([{**USER, "tool_calls": [CALL]}, ANSWER], "a tool call of another than the assistant: message 1"),
    "a nameless call": (
        [USER, {**ANSWER, "tool_calls": [{"function": {}}]}],
        "a tool call without a name: message 2",
    ),
    "calls": (
        [USER, {**ANSWER, "tool_calls": "weather"}],
        "tool calls that are not a list: message 2 holds a text",
    ),
    "half a character": ([USER, {"role": "assistant", "content": "\ud83d"}], "a text with half a character"),
}


@pytest.mark.parametrize("case", WRONG)
def test_rows_that_cannot_be_used(case: str) -> None:
    messages, reason = WRONG[case]
    assert why_not(*messages).startswith(reason)


def test_cells_that_hold_no_messages() -> None:
    assert reading(LIST, {"messages": "hello"})[1] == "no list of messages in column 'messages' (it says 'hello')"
    assert reading(LIST, {"messages": 3})[1] == "no list of messages in column 'messages': it is a number"
    assert reading(LIST, {})[1] == "no messages in column 'messages'"


def test_what_is_allowed() -> None:
    assert len(talk(ANSWER, USER, ANSWER, ANSWER).messages) == 4
    assert talk(USER, ANSWER, system="be kind").messages[0] == Message("system", "be kind")
    own = {"role": "developer", "content": "be rude"}
    assert talk(own, USER, ANSWER, system="be kind").messages[0].role == "developer"
    assert talk(USER, {**ANSWER, "reasoning_content": "2 + 2"}).messages[1].extra == {"reasoning_content": "2 + 2"}
    assert talk({"role": "User ", "content": "x"}, ANSWER).messages[0].role == "user"
    assert talk(USER, {**ANSWER, "tool_calls": None, "name": None}).messages[1].extra == {}


def test_what_follows_the_last_answer_is_left_out_and_said() -> None:
    reader = reader_of(LIST)
    example = reader.example(Row({"messages": [USER, ANSWER, USER]}, Place("a", 1)))
    assert example is not None
    assert example.conversation is not None
    assert example.conversation.ends_with_answer
    assert reader.announcements() == ["1 conversations go on after the last answer; that end is left out"]
    keeping = ConversationReader(LIST, keeps_end=True).example(Row({"messages": [USER, ANSWER, USER]}, Place("a", 1)))
    assert keeping is not None
    assert keeping.conversation is not None
    assert len(keeping.conversation.messages) == 3


def test_sharegpt_as_llama_factory_has_it() -> None:
    turns = [
        {"from": "human", "value": "weather in Köln?"},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": '{"sky": "blue"}'},
        {"from": "gpt", "value": "blue", "weight": 0.5},
    ]
    columns = LIST.model_copy(update={"conversations": "sharegpt"})
    example, _ = reading(columns, {"messages": turns, "system": "be brief"})
    assert example is not None
    assert example.conversation is not None
    system, asked, called, seen, answer = example.conversation.messages
    assert (system.role, asked.role, called.role, seen.role) == ("system", "user", "assistant", "tool")
    assert called.extra["tool_calls"] == [READ_CALL]
    assert (seen.content, answer) == ('{"sky": "blue"}', Message("assistant", "blue", 0.5))
    two = [turns[0], {"from": "function_call", "value": json.dumps([CALL, CALL])}, *turns[2:]]
    example, _ = reading(columns, {"messages": two})
    assert example is not None
    assert example.conversation is not None
    assert example.conversation.messages[1].extra["tool_calls"] == [READ_CALL, READ_CALL]
    broken = [turns[0], {"from": "function_call", "value": "weather(Köln)"}]
    assert reading(columns, {"messages": broken})[1] == (
        "a function call that is not JSON: message 2 (it says 'weather(Köln)')"
    )


def test_alpaca_as_llama_factory_means_it() -> None:
    cells = {"instruction": "add", "input": "2, 2", "output": "4", "history": [["hi", "hello"]], "system": "be brief"}
    example, _ = reading(PROMPT, cells)
    assert example is not None
    assert example.conversation == Conversation(
        (
            Message("system", "be brief"),
            Message("user", "hi"),
            Message("assistant", "hello"),
            Message("user", "add\n2, 2"),
            Message("assistant", "4"),
        )
    )
    bare, _ = reading(PROMPT, {"instruction": "add", "input": None, "output": "4", "history": None, "system": " "})
    assert bare is not None
    assert bare.texts == ("add",)
    for history in ("flu", [["hi"]], [["hi", 3]], {"a": 1}):
        assert reading(PROMPT, {**cells, "history": history})[1] == "a history that is not a list of pairs"
    assert reading(PROMPT, {**cells, "instruction": "", "input": ""})[1] == "no text in column 'instruction'"
    assert reading(PROMPT, {**cells, "output": "nan"})[1] == "no text in column 'output' (it says 'nan')"
    assert reading(PROMPT, {**cells, "output": {"a": 1}})[1] == "column 'output' holds an object, not a text"


@pytest.mark.parametrize("answer", ["[1, 2]", '{"a": [1], "b": [2]}', ' a = "x"\n'])
def test_answers_that_are_json_or_code_stay_as_they_are(answer: str) -> None:
    example, _ = reading(PROMPT, {"instruction": "[3, 4] backwards", "output": answer})
    assert example is not None
    assert (example.texts, example.references) == (("[3, 4] backwards",), (answer,))


def test_several_right_answers() -> None:
    example, _ = reading(PROMPT, {"instruction": "a colour", "output": ["red", "green", "red"]})
    assert example is not None
    assert example.references == ("red", "green")
    assert example.conversation is not None
    assert example.conversation.messages[-1].content == "red"


def test_prompts_and_completions_that_are_messages() -> None:
    example, _ = reading(PROMPT, {"instruction": [USER], "output": [ANSWER]})
    assert example is not None
    assert example.conversation == Conversation((Message("user", USER["content"]), Message("assistant", "4")))
    mixed, _ = reading(PROMPT, {"instruction": [USER], "output": "four"})
    assert mixed is not None
    assert mixed.references == ("four",)
    wrong = reading(PROMPT, {"instruction": [{"role": "hero", "content": "x"}], "output": "four"})[1]
    assert wrong == "an unknown role: message 1 (it says 'hero')"


def test_to_predict_the_users_word_is_the_last_one() -> None:
    for cell in ([USER], [USER, {"role": "assistant", "content": ""}], USER["content"], json.dumps([USER])):
        example, why = reading(LIST, {"messages": cell}, needs_labels=False)
        assert example is not None, why
        assert (example.texts, example.references) == (("what is 2 + 2?",), ())
    answered, _ = reading(LIST, {"messages": [USER, ANSWER]}, needs_labels=False)
    assert answered is not None
    assert answered.references == ("4",)
    asked, _ = reading(PROMPT, {"instruction": "add", "input": "2, 2"}, needs_labels=False)
    assert asked is not None
    assert (asked.texts, asked.references) == (("add\n2, 2",), ())
    bare, _ = reading(PROMPT.model_copy(update={"target": None}), {"instruction": "add", "input": "2"}, False)
    assert bare is not None
    assert bare.texts == ("add\n2",)
    assert reading(LIST, {"messages": [{"role": "assistant", "content": ""}]}, False)[1] == "no message to be answered"


def test_a_column_of_prompts_alone_can_be_asked(tmp_path: Path) -> None:
    (tmp_path / "ask.csv").write_text("q\nhow are you\nwho are you\n", encoding="utf-8")
    for columns in (LIST, PROMPT):
        examples, dropped, _ = load_examples([str(tmp_path / "ask.csv")], DataConfig(), columns, needs_labels=False)
        assert [row.texts for row in examples] == [("how are you",), ("who are you",)]
        assert not dropped


def saved(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def test_every_fault_of_a_file_has_its_line(tmp_path: Path) -> None:
    talks: list[list[Any]] = [[{"role": "user", "content": f"say {n}"}, ANSWER] for n in range(20)]
    talks[3], talks[8][1], talks[11][0] = talks[3][:1], {**ANSWER, "weight": 3}, {"role": "hero", "content": "x"}
    splits = load_splits(DataConfig(train=(saved(tmp_path / "a.jsonl", [{"messages": one} for one in talks]),)), 0)
    assert {(row.line, row.reason.split(":")[0]) for row in splits.dropped} == {
        (4, "no message of the assistant"),
        (9, "a weight that is not a number from 0 to 1"),
        (12, "an unknown role"),
    }
    rows = [*splits.train, *splits.validation, *splits.test]
    assert {row.place.line for row in rows} == set(range(1, 21)) - {4, 9, 12}
    assert "1 rows dropped: an unknown role (it says 'hero')" in splits.announcements


def test_one_long_system_prompt_makes_no_rows_alike(tmp_path: Path) -> None:
    system = {"role": "system", "content": "you are a helpful assistant that answers in few words " * 20}
    asked = ["what is love", "name a river of france please", "how old is the sun", "who wrote faust", "why is it red"]
    rows = [
        {"messages": [system, {"role": "user", "content": f"{text} {n}"}, ANSWER]} for n in range(8) for text in asked
    ]
    splits = load_splits(DataConfig(train=(saved(tmp_path / "a.jsonl", rows),)), 0)
    assert not any("clusters" in note for note in splits.announcements)
    assert len(splits.test) == 8
    assert splits.test[0].texts[0].startswith("you are a helpful")


def test_only_equal_prompts_with_equal_answers_are_duplicates(tmp_path: Path) -> None:
    def row(asked: str, answer: str, system: str) -> dict[str, Any]:
        roles = {"system": system, "user": asked, "assistant": answer}
        return {"messages": [{"role": role, "content": text} for role, text in roles.items()]}

    other = [row(f"what do you say of {n} {n * 7}", "much", "be kind") for n in range(20)]
    three = [row("hello", "hi", "be kind"), row("hello", "hi", "be rude"), row("hello", "hey", "be kind")]
    rows = [*other, *three, three[0]]
    splits = load_splits(DataConfig(train=(saved(tmp_path / "a.jsonl", rows),)), 0)
    assert [row.line for row in splits.dropped] == [24]


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"say {n} {n * n}"}, ANSWER], "talk": f"t{n // 4}"} for n in range(40)
    ]
    splits = load_splits(DataConfig(train=(saved(tmp_path / "a.jsonl", rows),), group="talk"), 0)
    sides = [{row.group for row in rows} for rows in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 10


def test_a_file_without_any_answer_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.jsonl", [{"messages": [{"role": "user", "content": f"say {n}"}]} for n in range(9)])
    with pytest.raises(DataError, match="9 of 9 rows cannot be learned from") as caught:
        load_splits(DataConfig(train=(source,)), 0)
    assert "9 no message of the assistant" in str(caught.value)


def test_messages_in_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": CALL}]}
    rows = [{"messages": [USER, call, {"role": "tool", "content": "sunny"}, ANSWER]} for _ in range(3)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    columns = open_with_columns((str(tmp_path / "a.parquet"),), DataConfig())[1]
    examples, dropped, _ = load_examples([str(tmp_path / "a.parquet")], DataConfig(), columns)
    assert not dropped
    conversation = examples[0].conversation
    assert conversation is not None
    assert conversation.messages[1].extra == {"tool_calls": [{**READ_CALL, "id": "a"}]}
    assert [message.extra for message in conversation.messages[2:]] == [{}, {}]


def test_as_text_of_what_is_no_single_question() -> None:
    assert as_text(()) == ""
    assert as_text((Message("assistant", "hello"),)) == "assistant: hello"


def test_real_tool_calls(shared_data: Path) -> None:
    source = str(shared_data / "llamafactory_demo" / "glaive_toolcall_en_demo.json")
    columns = open_with_columns((source,), DataConfig())[1]
    examples, dropped, _ = load_examples([source], DataConfig(), columns)
    assert (len(examples), len(dropped)) == (300, 0)
    talks = [example.conversation for example in examples if example.conversation is not None]
    messages = [message for talk in talks for message in talk.messages]
    calls = [call for message in messages for call in message.extra.get("tool_calls", ())]
    assert len(calls) == 211
    assert sum(message.role == "tool" for message in messages) == 211
    assert all(isinstance(call["function"]["arguments"], dict) for call in calls)
    assert sum(bool(talk.tools) for talk in talks) > 150


@pytest.mark.parametrize(
    ("name", "count"),
    [("gsm8k/test.jsonl", 1319), ("medquad/medquad.jsonl", 3000), ("llamafactory_demo/alpaca_en_demo.json", 999)],
)
def test_real_questions(shared_data: Path, name: str, count: int) -> None:
    config = DataConfig(train=(str(shared_data / name),))
    columns = open_with_columns(config.train, config)[1]
    examples, dropped, _ = load_examples(config.train, config, columns)
    assert (len(examples), len(dropped)) == (count, 0)
    assert all(example.references and example.texts[0].strip() for example in examples)
