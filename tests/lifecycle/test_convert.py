"""The verb ``data convert``: files from one format into another, with lists of what was left out and what was lost."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.examples import Example
from feinschliff.data.load import load_examples, open_with_columns
from feinschliff.errors import ConfigError, DataError
from feinschliff.lifecycle.convert import convert
from feinschliff.lifecycle.data import check, clean, model_hooks, split

CALL = {"type": "function", "id": "a1", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}


def talk(number: int, *more: dict[str, Any], answer: str = "well said {}") -> dict[str, Any]:
    asked = {"role": "user", "content": f"say {number} and {number * number}"}
    return {"messages": [asked, {"role": "assistant", "content": answer.format(number)}, *more], "id": number}


def saved(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def examples(path: str | Path, **changes: Any) -> list[Example]:
    config = DataConfig(train=(str(path),), **changes)
    return load_examples(config.train, config, open_with_columns(config.train, config)[1])[0]


def listed(path: str | None) -> list[tuple[int, str]]:
    assert path is not None
    with open(path, newline="", encoding="utf-8") as file:
        return [(int(row["line"]), row["reason"]) for row in csv.DictReader(file)]


@pytest.fixture
def mixed(tmp_path: Path) -> str:
    """Nine rows: without an answer, with a call of a tool, an answer that is not learned, two turns, one that goes on,
    one of half the weight; and ordinary ones."""
    rows = [talk(number) for number in range(9)]
    rows[1]["messages"].pop()
    rows[2]["messages"][1] = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    rows[3]["messages"][1]["weight"] = 0
    rows[4] = talk(4, {"role": "user", "content": "once more"}, {"role": "assistant", "content": "again"})
    rows[5] = talk(5, {"role": "user", "content": "thanks"})
    rows[6]["messages"][1]["weight"] = 0.5
    return saved(tmp_path / "talks.jsonl", rows)


def test_what_can_be_said_is_written_and_the_rest_is_listed(mixed: str, tmp_path: Path) -> None:
    result = convert(DataConfig(train=(mixed,)), "alpaca")
    assert result.output == str(tmp_path / "talks.alpaca.jsonl")
    assert (result.read_as, result.written_as) == ("openai", "alpaca")
    assert (result.rows_read, result.rows_written) == (9, 5)
    assert listed(result.dropped_output) == [
        (2, "no message of the assistant"),
        (3, "alpaca cannot say calls of tools and their results"),
        (4, "alpaca cannot say that an answer is not to be learned (weight 0)"),
        (6, "alpaca cannot say anything but turns of user and assistant"),
    ]
    assert sum(result.dropped.values()) == 4
    assert listed(result.lost_output) == [(7, "weights of messages")]
    assert result.lost == {"weights of messages": 1}
    assert "columns not used: 'id'" in result.announcements
    rows = [json.loads(line) for line in Path(result.output).read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {"instruction": "say 0 and 0", "input": "", "output": "well said 0"}
    assert rows[1]["history"] == [["say 4 and 16", "well said 4"]]


def test_round_trips_of_files(mixed: str, tmp_path: Path) -> None:
    there = convert(DataConfig(train=(mixed,)), "sharegpt", tmp_path / "there.jsonl")
    assert there.lost == {"ids of tool calls": 1}
    back = convert(DataConfig(train=(there.output,)), "openai", tmp_path / "back.jsonl")
    assert (there.rows_written, back.rows_written, back.lost_output) == (8, 8, None)
    assert back.read_as == "sharegpt"
    again = convert(DataConfig(train=(back.output,)), "sharegpt", tmp_path / "again.jsonl.gz")
    assert gzip.decompress(Path(again.output).read_bytes()).decode() == Path(there.output).read_text(encoding="utf-8")
    given = [row for row in examples(mixed) if row.place.line != 3]
    returned = [row for number, row in enumerate(examples(back.output)) if number != 1]
    assert [row.conversation for row in given] == [row.conversation for row in returned]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("to", ["alpaca", "prompt_completion"])
def test_tables_of_texts_can_be_of_any_kind(tmp_path: Path, to: str, suffix: str) -> None:
    rows = [talk(number, answer='a "quoted", b\n\tand {}') for number in range(8)]
    if to == "alpaca":
        rows[0] = talk(0, {"role": "user", "content": "once more"}, {"role": "assistant", "content": "again"})
    rows[1]["messages"].insert(0, {"role": "system", "content": "be brief"})
    source = saved(tmp_path / "talks.jsonl", rows)
    result = convert(DataConfig(train=(source,)), to, tmp_path / f"out{suffix}")
    assert result.rows_written == 8
    assert [row.conversation for row in examples(result.output)] == [row.conversation for row in examples(source)]


def test_two_columns_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q,a,system\nwhat is love,a feeling,be brief\n", encoding="utf-8")
    config = DataConfig(train=(str(tmp_path / "a.csv"),), text=("q",), target="a")
    row = json.loads(Path(convert(config, "openai").output).read_text(encoding="utf-8"))
    assert [message["content"] for message in row["messages"]] == ["be brief", "what is love", "a feeling"]


def test_nothing_is_overwritten_and_nothing_half_written(mixed: str, tmp_path: Path) -> None:
    config = DataConfig(train=(mixed,))
    convert(config, "sharegpt", tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="the file exists"):
        convert(config, "openai", tmp_path / "out.jsonl")
    assert (tmp_path / "out.lost.csv").read_text(encoding="utf-8").count("\n") == 2
    assert convert(config, "openai", tmp_path / "out.jsonl", overwrite=True).rows_written == 8
    assert (tmp_path / "out.lost.csv").read_text(encoding="utf-8").count("\n") == 1
    with pytest.raises(DataError, match="one of the inputs"):
        convert(config, "openai", Path(mixed), overwrite=True)
    with pytest.raises(DataError, match="no row can be written as prompt_completion") as caught:
        convert(DataConfig(train=(tools(tmp_path),)), "prompt_completion", tmp_path / "none.jsonl")
    assert "left out: 3 prompt_completion cannot say calls of tools" in str(caught.value)
    assert not list(tmp_path.glob("*none*"))


def tools(folder: Path) -> str:
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    return saved(folder / "tools.jsonl", [{"messages": [talk(n)["messages"][0], called]} for n in range(3)])


def test_wrong_formats_and_suffixes_are_told_at_once(mixed: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        convert(DataConfig(train=(mixed,)), "chatml", tmp_path / "out.xls")
    assert [fault.where for fault in caught.value.faults] == ["--to", "--output"]
    with pytest.raises(ConfigError, match=r"openai cannot be written as \.csv"):
        convert(DataConfig(train=(mixed,)), "openai", tmp_path / "out.csv")
    with pytest.raises(DataError, match="no conversations were found"):
        convert(DataConfig(train=(saved(tmp_path / "a.jsonl", [{"text": "a", "label": "b"}]),)), "openai")


SOURCES: dict[str, Any] = {
    "openai": lambda n: {**talk(n), "tools": [{"name": "weather", "parameters": {"n": [{"x": n}]}}]},
    "sharegpt": lambda n: {
        "conversations": [{"from": "human", "value": f"a {n} {n * n}"}, {"from": "gpt", "value": "b"}]
    },
    "prompt_completion": lambda n: {"question": f"what of {n} {n * n}", "answer": f"this of {n}", "id": n},
    "documents": lambda n: {"text": f"number {n} {n * n * 7} is a number " * 9},
}


@pytest.mark.parametrize("kind", SOURCES)
def test_check_clean_and_split_keep_rows_as_they_are(tmp_path: Path, kind: str) -> None:
    rows = [SOURCES[kind](number) for number in range(30)]
    config = DataConfig(train=(saved(tmp_path / "rows.jsonl", [*rows, rows[0]]),), near_duplicate_similarity=1.0)
    report = check(config, model_hooks(config, "none"))
    assert report.columns.kind == ("documents" if kind == "documents" else "conversations")
    assert {finding.kind: finding.count for finding in report.findings} == {"duplicate": 1}
    assert (report.rows, report.label_counts, report.lengths) == (31, {}, None)
    cleaned = clean(config)
    assert [json.loads(line) for line in Path(cleaned.output).read_text(encoding="utf-8").splitlines()] == rows
    parts = split(config, tmp_path / "parts")
    written = [json.loads(line) for file in parts.files.values() for line in Path(file).read_text().splitlines()]
    assert sorted(map(json.dumps, written)) == sorted(map(json.dumps, rows))


def test_check_tells_unusable_rows(mixed: str) -> None:
    report = check(DataConfig(train=(mixed,)))
    unusable = [finding for finding in report.findings if finding.kind == "unusable"]
    assert [(finding.count, finding.examples[0].line) for finding in unusable] == [(1, 2)]
    assert "no message of the assistant; a run drops them" in unusable[0].message


def test_nested_cells_survive_parquet_and_csv(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [talk(number) for number in range(30)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    config = DataConfig(train=(str(tmp_path / "rows.parquet"),))
    expected = [row.conversation for row in examples(config.train[0])]
    for name in ("out.parquet", "out.csv", "out.jsonl"):
        result = clean(config, tmp_path / name, overwrite=True)
        assert [row.conversation for row in examples(result.output)] == expected


def test_documents_of_a_folder_are_split_into_files_that_are_documents_again(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    for number in range(12):
        text = f"# {number}\n\npage {number * number} of the book\n"
        (tmp_path / "book" / f"{number:02}.md").write_text(text, encoding="utf-8")
    config = DataConfig(train=(str(tmp_path / "book"),))
    parts = split(config, tmp_path / "parts")
    texts = [row.texts[0] for file in parts.files.values() for row in examples(file, rows="documents")]
    assert sorted(texts) == sorted(row.texts[0] for row in examples(tmp_path / "book"))
