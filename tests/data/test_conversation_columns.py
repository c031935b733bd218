"""Conversations and documents: which tables hold them, in which format, and which tables stay others'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.load import load_examples, load_splits, open_with_columns
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound
from tests.data.test_text_rows import written

OPENAI = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
SHAREGPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
LONG = "a long text with many words in it, " * 10


def found(path: Path, columns: dict[str, Any], count: int = 24, **changes: Any) -> ColumnsFound:
    source = written(path / "rows.jsonl", columns, count)
    config = DataConfig(train=(source,), **changes)
    return open_with_columns(config.train, config)[1]


def always(cell: object) -> Any:
    return lambda number: cell


KNOWN: dict[str, tuple[dict[str, Any], str, str, str | None]] = {
    "messages": ({"messages": always(OPENAI)}, "openai", "messages", None),
    "another name": ({"id": "{}", "talk": always(OPENAI), "label": "a"}, "openai", "talk", None),
    "messages as text": ({"messages": always(json.dumps(OPENAI))}, "openai", "messages", None),
    "as python writes": ({"messages": always(str(OPENAI))}, "openai", "messages", None),
    "columns of values": (
        {"messages": always({"role": ["user", "assistant"], "content": ["hi", "hello"]})},
        "openai",
        "messages",
        None,
    ),
    "sharegpt": ({"conversations": always(SHAREGPT), "source": "web {}"}, "sharegpt", "conversations", None),
    "roles in conversations": ({"conversations": always(OPENAI)}, "openai", "conversations", None),
    "two columns of messages": ({"draft": always(OPENAI), "messages": always(OPENAI)}, "openai", "messages", None),
    "alpaca": (
        {"instruction": "say {}", "input": "", "output": "well said {}"},
        "alpaca",
        "instruction",
        "output",
    ),
    "prompt and completion": (
        {"Prompt": "say {}", "Completion": "well said {}"},
        "prompt_completion",
        "Prompt",
        "Completion",
    ),
    "lists of messages": (
        {"prompt": always(OPENAI[:1]), "completion": always(OPENAI[1:]), "id": "{}"},
        "prompt_completion",
        "prompt",
        "completion",
    ),
    "prompt and response": ({"prompt": "a {}", "response": "b {}"}, "prompt_completion", "prompt", "response"),
    "questions": ({"question": "why {}?", "answer": "so {}"}, "prompt_completion", "question", "answer"),
    "few rows": ({"question": "why?", "answer": "so {}"}, "prompt_completion", "question", "answer"),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_found(tmp_path: Path, kind: str) -> None:
    columns, name, text, target = KNOWN[kind]
    told = found(tmp_path, columns, count=5 if kind == "few rows" else 24)
    assert (told.kind, told.conversations, told.text, told.target) == ("conversations", name, [text], target)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "labels": ({"question": "why {}?", "answer": lambda n: ("yes", "no")[n % 2]}, "single_label"),
    "a label beside": (
        {"instruction": "do {}", "output": "done well {}", "category": lambda n: ("a", "b")[n % 2]},
        "single_label",
    ),
    "pairs with a label": (
        {"question": "why {}", "answer": "so {}", "label": lambda n: n % 2},
        "single_label",
    ),
    "SQuAD": (
        {
            "question": "what is {}",
            "context": "it is {}",
            "answers": lambda n: {"text": [str(n)], "answer_start": [6]},
        },
        "answers",
    ),
    "spans": (
        {"text": "anna is {}", "entities": lambda n: [{"start": 0, "end": 4, "label": "PER"}]},
        "spans",
    ),
    "sources": ({"source": "one {}", "target": "two {}"}, "texts"),
    "roles that nobody speaks in": (
        {"text": "a film {}", "cast": always([{"role": "hero", "content": "x"}]), "label": lambda n: "ab"[n % 2]},
        "single_label",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_others_stay_theirs(tmp_path: Path, kind: str) -> None:
    columns, expected = OTHERS[kind]
    assert found(tmp_path, columns).kind == expected


def test_what_is_taken_for_labels_is_told_where_it_could_be_conversations(tmp_path: Path) -> None:
    columns = {"instruction": "do {}", "output": "done well {}", "category": lambda n: ("a", "b")[n % 2]}
    told = found(tmp_path, columns)
    assert told.target == "category"
    assert "to learn to write 'output' from 'instruction' instead: --data.rows conversations" in told.announcements
    assert found(tmp_path, columns, rows="conversations").target == "output"
    assert not any("instead" in note for note in found(tmp_path, columns, target="category").announcements)


def test_names_that_others_have_are_taken_where_conversations_are_asked_for(tmp_path: Path) -> None:
    columns = {"input": "say {}", "output": "said well {}"}
    with pytest.raises(DataError, match="no label column"):
        found(tmp_path, columns)
    assert found(tmp_path, columns, rows="conversations").text == ["input"]
    named = {"a": "say {}", "b": "said well {}", "system": "be brief {}"}
    told = found(tmp_path, named, rows="conversations", text=("a",), target="b")
    assert (told.text, told.target, told.parts) == (["a"], "b", {"system": "system"})
    assert found(tmp_path, {"question": "why {}?", "answer": "so {}"}, rows="texts").kind == "texts"


MORE = [*OPENAI, {"role": "user", "content": "and now?"}]


@pytest.mark.parametrize("asked", ["auto", "conversations"])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"prompt": always(MORE), "completion": "so be it {}"}, ["hi", "hello", "and now?", "so be it 3"]),
        ({"prompt": "say {}", "completion": always(OPENAI[1:])}, ["say 3", "hello"]),
        ({"id": "{}", "Question": always(MORE), "context": "c {}", "answer": "it is {}"}, [*"___", "it is 3"]),
        ({"prompt": always(json.dumps(MORE)), "response": ""}, None),
    ],
    ids=["a list of messages, a text", "a text, a list of messages", "other names", "empty answers"],
)
def test_a_list_of_messages_beside_a_text_is_a_prompt_with_its_answer(
    tmp_path: Path, columns: dict[str, Any], said: list[str] | None, asked: str
) -> None:
    source, config = written(tmp_path / "a.jsonl", columns, 8), DataConfig.model_validate({"rows": asked})
    found = open_with_columns((source,), config)[1]
    assert found.conversations == "prompt_completion"
    if said is None:
        with pytest.raises(DataError, match="no row can be used"):
            load_examples([source], config, found)
        return
    talk = load_examples([source], config, found)[0][3].conversation
    assert talk is not None
    assert len(talk.messages) == len(said)
    assert all(other in (one.content, "_") for one, other in zip(talk.messages, said, strict=True))
    assert "context" not in found.parts.values()


def test_a_list_of_messages_without_its_partner_is_the_conversation(tmp_path: Path) -> None:
    for columns, changes in (
        ({"prompt": always(OPENAI), "label": "good {}"}, {}),
        ({"prompt": always(OPENAI), "completion": "so {}"}, {"text": ("prompt",)}),
        ({"messages": always(OPENAI), "input": always(OPENAI), "output": "so {}"}, {}),
    ):
        told = found(tmp_path, columns, **changes)
        assert (told.conversations, told.target) == ("openai", None)
    both = {"prompt": always(MORE), "completion": "so {}"}
    with pytest.raises(DataError, match="no conversations as openai") as caught:
        found(tmp_path, both, conversations="openai")
    assert "column 'prompt' is written as prompt_completion writes it" in str(caught.value)
    assert found(tmp_path, both, conversations="openai", text=("prompt",)).target is None


def test_tools_beside_prompts_and_completions_that_are_messages(tmp_path: Path) -> None:
    columns = {"prompt": always(MORE), "completion": always(OPENAI[1:]), "tools": "[]"}
    assert found(tmp_path, columns).parts == {"tools": "tools"}


def test_prompts_that_are_not_taken_for_such_are_hinted_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no label column") as caught:
        found(tmp_path, {"input": "say {}", "output": "said well {}"})
    assert str(caught.value).endswith("; to learn to write the answers: --data.rows conversations")
    for other in ({"text": "say {}"}, {"input": "say {}", "output": lambda n: n}, {"one": "say {}", "two": "said {}"}):
        with pytest.raises(DataError) as caught:
            found(tmp_path, other, text=() if len(other) == 1 else (next(iter(other)),))
        assert "--data.rows conversations" not in str(caught.value)


def test_two_columns_without_a_header(tmp_path: Path) -> None:
    lines = [f"why is the number {n} here,because {n} was wanted there\n" for n in range(20)]
    (tmp_path / "a.csv").write_text("".join(lines), encoding="utf-8")
    source = (str(tmp_path / "a.csv"),)
    with pytest.raises(DataError, match="no label column") as caught:
        open_with_columns(source, DataConfig())
    options = "--data.rows conversations --text column_1 --target column_2"
    assert str(caught.value).endswith(f"; to learn to write the answers: {options}")
    config = DataConfig(train=source, rows="conversations", text=("column_1",), target="column_2")
    examples = load_examples(source, config, open_with_columns(source, config)[1])[0]
    assert [(row.texts[0], row.references[0]) for row in examples] == [
        (f"why is the number {n} here", f"because {n} was wanted there") for n in range(20)
    ]
    (tmp_path / "b.csv").write_text("".join(f"id-{n},some words of {n}\n" for n in range(20)), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        open_with_columns((str(tmp_path / "b.csv"),), DataConfig(header="no"))
    assert "--data.rows conversations" not in str(caught.value)


def test_a_format_can_be_named(tmp_path: Path) -> None:
    both = {"messages": always(OPENAI), "prompt": "say {}", "response": "said {}"}
    assert found(tmp_path, both).conversations == "openai"
    assert found(tmp_path, both, conversations="prompt_completion").target == "response"
    assert found(tmp_path, both, conversations="alpaca").conversations == "alpaca"
    with pytest.raises(DataError, match="no conversations as sharegpt writes them") as caught:
        found(tmp_path, both, conversations="sharegpt")
    assert "column 'messages' is written as openai writes it" in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "rows.jsonl"))


def test_nothing_found_and_misnamed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no conversations were found") as caught:
        found(tmp_path, {"a": "say {}", "b": "said {}"}, rows="conversations")
    assert "columns: a, b; wanted: messages" in str(caught.value)
    with pytest.raises(DataError) as caught:
        found(tmp_path, {"talk": always(OPENAI)}, rows="conversations", text=("tlak",), group="who")
    assert [fault.where for fault in caught.value.faults] == ["--text", "--group"]
    assert "did you mean --text talk?" in str(caught.value)


def test_parts_and_what_is_not_used_are_said(tmp_path: Path) -> None:
    columns = {
        "instruction": "do {}",
        "input": lambda n: "" if n % 2 else f"with {n}",
        "output": "done well {}",
        "system": "be kind {}",
        "history": always([["hi", "hello"]]),
        "id": lambda n: n,
    }
    told = found(tmp_path, columns)
    assert told.parts == {"system": "system", "history": "history", "input": "input"}
    assert "columns not used: 'id'" in told.announcements
    ill = found(tmp_path, {**columns, "history": "flu in {}"})
    assert "history" not in ill.parts
    tools = found(tmp_path, {"messages": always(OPENAI), "tools": "[]", "label": "good {}"})
    assert tools.parts == {"tools": "tools"}
    assert tools.announcements[-1] == "'label' may say which answers are good: that is not looked at here"


def test_a_context_is_asked_about(tmp_path: Path) -> None:
    columns = {"instruction": "sum up {}", "context": "a text {}", "response": "short {}"}
    assert found(tmp_path, columns).parts == {"input": "context"}


def test_documents(tmp_path: Path) -> None:
    assert found(tmp_path, {"text": LONG + "{}"}).kind == "documents"
    with pytest.raises(DataError, match="no label column"):
        found(tmp_path, {"text": "short {}"})
    assert found(tmp_path, {"text": "short {}"}, rows="documents").kind == "documents"
    several = {"id": "{}", "title": "short {}", "content": LONG + "{}"}
    told = found(tmp_path, several, rows="documents")
    assert (told.text, told.target) == (["content"], None)
    assert "columns not used: 'id', 'title'" in told.announcements
    assert found(tmp_path, several, rows="documents", text=("title",)).text == ["title"]
    with pytest.raises(DataError, match="2 text columns"):
        found(tmp_path, several, rows="documents", text=("title", "content"))
    with pytest.raises(DataError, match="no column 'body'"):
        found(tmp_path, several, rows="documents", text=("body",))


def test_files_are_documents_where_asked(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"page {number}\r\n\r\n{LONG}{number}\n", encoding="utf-8")
    files = (str(tmp_path / "*.txt"),)
    with pytest.raises(DataError, match="no label column") as caught:
        open_with_columns(files, DataConfig())
    assert "as one document: --data.rows documents" in str(caught.value)
    splits = load_splits(DataConfig(train=files, rows="documents", near_duplicate_similarity=1.0), 0)
    rows = sorted((*splits.train, *splits.validation, *splits.test), key=lambda row: row.place.file)
    assert [row.place.file for row in rows] == [str(tmp_path / f"{number}.txt") for number in range(6)]
    assert rows[2].texts == (f"page 2\n\n{LONG}2\n",)
    assert rows[2].conversation is None


def test_folders_and_markdown_are_documents(tmp_path: Path) -> None:
    (tmp_path / "book" / "deep").mkdir(parents=True)
    for name in ("one.md", "two.txt", "deep/three.md", "cover.pdf"):
        (tmp_path / "book" / name).write_text(f"# {name}\nwords\n", encoding="utf-8")
    (tmp_path / "book" / "empty.md").write_text(" \n", encoding="utf-8")
    tables, columns = open_with_columns((str(tmp_path / "book"),), DataConfig())
    rows = list(tables[0].read())
    assert columns.kind == "documents"
    assert [Path(row.place.file).name for row in rows] == ["three.md", "empty.md", "one.md", "two.txt"]
    assert "1 files left out (such as cover.pdf)" in tables[0].announcements[1]
    single = open_with_columns((str(tmp_path / "book" / "one.md"),), DataConfig())
    assert single[1].kind == "documents"
    assert [row.cells["text"] for row in single[0][0].read()] == ["# one.md\nwords\n"]


def test_folders_of_classes_stay_so_unless_documents_are_asked_for(tmp_path: Path) -> None:
    for name in ("ham", "spam"):
        (tmp_path / "mails" / name).mkdir(parents=True)
        (tmp_path / "mails" / name / "1.txt").write_text(f"a mail about {name}\n", encoding="utf-8")
    (tmp_path / "mails" / "read.txt").write_text("about the mails", encoding="utf-8")
    source = (str(tmp_path / "mails"),)
    assert open_with_columns(source, DataConfig())[1].target == "label"
    tables, columns = open_with_columns(source, DataConfig(rows="documents"))
    assert columns.kind == "documents"
    assert len(list(tables[0].read())) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the folder holds no documents"):
        open_with_columns((str(tmp_path / "empty"),), DataConfig(rows="documents"))


def test_unreadable_documents_are_told_all_at_once(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_bytes(b"\x00\x01\x02\x03" * 9)
    (tmp_path / "c.md").write_text("words", encoding="utf-8")
    tables, _ = open_with_columns((str(tmp_path / "c.md"),), DataConfig())
    assert len(list(tables[0].read())) == 1
    with pytest.raises(DataError) as caught:
        open_with_columns((str(tmp_path),), DataConfig())
    assert [Path(fault.where or "").name for fault in caught.value.faults] == ["a.md", "b.md"]


REAL = {
    "gsm8k/test.jsonl": ("conversations", "prompt_completion", "question"),
    "medquad/medquad.jsonl": ("conversations", "prompt_completion", "question"),
    "llamafactory_demo/alpaca_en_demo.json": ("conversations", "alpaca", "instruction"),
    "llamafactory_demo/identity.json": ("conversations", "alpaca", "instruction"),
    "llamafactory_demo/glaive_toolcall_en_demo.json": ("conversations", "sharegpt", "conversations"),
    "llamafactory_demo/kto_en_demo.json": ("conversations", "openai", "messages"),
    "banking77/test.csv": ("single_label", None, "text"),
    "hellaswag/val.jsonl": ("single_label", None, "ctx"),
    "piqa/val.jsonl": ("single_label", None, "sol2"),
    "arc/arc_easy_val.jsonl": ("single_label", None, "question"),
    "xquad/xquad.en.json": ("answers", None, "question"),
    "stsb/stsb-en-dev.csv": ("values", None, "column_1"),
    "german_ler/ler_dev.conll": ("spans", None, "tokens"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared_data: Path, name: str) -> None:
    config = DataConfig(train=(str(shared_data / name),), max_rows=500)
    columns = open_with_columns(config.train, config)[1]
    assert (columns.kind, columns.conversations, columns.text[0]) == REAL[name]
