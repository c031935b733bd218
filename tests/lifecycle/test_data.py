"""The verb ``data``: cleaned and split files can be read again and hold what they should; the command line says so."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from transformers import AutoTokenizer

from feinschliff.cli.main import main
from feinschliff.config.data import DataConfig
from feinschliff.config.run import RunConfig
from feinschliff.data.sources import open_rows
from feinschliff.errors import DataError, ModelError
from feinschliff.lifecycle.data import check, clean, model_hooks, split
from feinschliff.lifecycle.embedding import FrozenEncoder
from feinschliff.models.sources import resolve_model
from feinschliff.tasks._task import TaskContext
from tests.data.test_load import rows, write

DIRTY = [*rows(20), ("", "a"), ("a text", "nan"), (rows()[3][0], "B "), ("a new one", "solo"), ("b\tnew", " A")]


def cells(path: str | Path) -> list[dict[str, object]]:
    return [dict(row.cells) for row in open_rows([str(path)], DataConfig())]


def test_clean_drops_and_respells_with_a_list(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.csv", [(*row, str(n)) for n, row in enumerate(DIRTY)], ("text", "label", "nr"))
    result = clean(DataConfig(train=(source,)), min_rows_per_class=2)
    assert result.output == str(tmp_path / "rows.clean.csv")
    assert (result.rows_read, result.rows_written, result.num_changed_labels) == (25, 21, 2)
    assert result.changed_labels == {"B ": "b", " A": "a"}
    written = cells(result.output)
    assert [row["nr"] for row in written] == [str(n) for n in [*range(20), 24]]
    assert {row["label"] for row in written} == {"a", "b"}
    with open(result.dropped_output, newline="") as file:
        dropped = {int(row["line"]): row["reason"] for row in csv.DictReader(file)}
    assert dropped == {
        22: "no text in column 'text'",
        23: "no label in column 'label' (it says 'nan')",
        24: f"exact duplicate of an earlier row: {source}:5",
        25: "the class has too few rows: solo",
    }
    assert sum(result.dropped.values()) == result.rows_read - result.rows_written


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".parquet", ".csv.gz"])
def test_clean_writes_other_formats(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / "rows.csv", DIRTY)
    result = clean(DataConfig(train=(source,)), tmp_path / f"out{suffix}")
    assert [row["text"] for row in cells(result.output)][-1] == "b\tnew"
    assert len(cells(result.output)) == result.rows_written == 22


def test_clean_keeps_the_format_and_the_missing_header(tmp_path: Path) -> None:
    lines = "".join(f"{text}\t{label}\n" for text, label in rows(20))
    (tmp_path / "rows.tsv").write_text(lines)
    assert Path(clean(DataConfig(train=(str(tmp_path / "rows.tsv"),))).output).read_text() == lines
    table = pyarrow.Table.from_pylist([{"text": text, "label": ["x", label]} for text, label in rows(20)])
    pyarrow.parquet.write_table(table, tmp_path / "other.parquet")
    result = clean(DataConfig(train=(str(tmp_path / "other.parquet"),)))
    assert pyarrow.parquet.read_table(result.output).to_pylist() == table.to_pylist()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.csv", DIRTY)
    clean(DataConfig(train=(source,)))
    with pytest.raises(DataError, match="exists"):
        clean(DataConfig(train=(source,)))
    with pytest.raises(DataError, match="one of the inputs"):
        clean(DataConfig(train=(source,)), Path(source), overwrite=True)
    assert clean(DataConfig(train=(source,)), overwrite=True).rows_written == 22


def test_split_files_hold_every_usable_row_once(tmp_path: Path) -> None:
    data = [(*row, str(n)) for n, row in enumerate([*rows(60), ("", "a")])]
    source = write(tmp_path / "rows.csv", data, ("text", "label", "nr"))
    result = split(DataConfig(train=(source,)), tmp_path / "out", seed=4)
    parts = {name: cells(path) for name, path in result.files.items()}
    assert (
        {name: len(part) for name, part in parts.items()} == result.rows == {"train": 42, "validation": 6, "test": 12}
    )
    assert sorted(int(str(row["nr"])) for part in parts.values() for row in part) == list(range(60))
    again = split(DataConfig(train=(source,)), tmp_path / "again", seed=4)
    assert Path(again.files["test"]).read_bytes() == Path(result.files["test"]).read_bytes()
    assert result.dropped == {"no text in column 'text'": 1}


def one_line_json(path: Path, data: list[tuple[str, str]]) -> str:
    path.write_text(json.dumps([{"text": text, "label": label, "nr": n} for n, (text, label) in enumerate(data)]))
    return str(path)


def test_split_of_a_json_array_on_one_line(tmp_path: Path) -> None:
    result = split(DataConfig(train=(one_line_json(tmp_path / "rows.json", rows(60)),)), tmp_path / "out")
    assert result.rows == {"train": 42, "validation": 6, "test": 12}
    numbers = [str(row["nr"]) for path in result.files.values() for row in cells(path)]
    assert sorted(map(int, numbers)) == list(range(60))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_spans_of_json_rows_come_out_as_they_went_in(tmp_path: Path, name: str) -> None:
    data = [{"text": text, "labels": [{"start": 0, "end": 3, "label": label}], "n": n} for n, (text, label) in
            enumerate(rows(60))]  # fmt: skip
    text = json.dumps(data) if name == "rows.json" else "".join(json.dumps(row) + "\n" for row in data)
    (tmp_path / name).write_text(text)
    config = DataConfig(train=(str(tmp_path / name),))
    assert cells(clean(config).output) == data
    parts = split(config, tmp_path / "out").files
    assert {Path(path).suffix for path in parts.values()} == {".jsonl"}
    assert sorted((row for path in parts.values() for row in cells(path)), key=lambda row: int(str(row["n"]))) == data


def test_split_where_a_file_is_given_twice(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.csv", rows(60))
    result = split(DataConfig(train=(source, source)), tmp_path / "out")
    assert (sum(result.rows.values()), sum(result.dropped.values())) == (60, 60)
    held_out = write(tmp_path / "test.csv", rows(80)[60:])
    config = DataConfig(train=(source,), validation=(held_out,), test=(held_out,), held_out_duplicates="keep")
    result = split(config, tmp_path / "given")
    assert result.rows == {name: len(cells(path)) for name, path in result.files.items()}
    assert result.rows == {"train": 60, "validation": 20, "test": 20}


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "rows.csv", rows(60))
    assert main(["data", "check", source, "--model", "none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 60
    one = write(tmp_path / "one.csv", [("some text", "a")])
    assert main(["data", "check", one, "--model", "none"]) == 1
    assert "error" in capsys.readouterr().out
    assert main(["data", "check", source, "--target", "lable"]) == 2
    assert "did you mean --target label?" in " ".join(capsys.readouterr().err.split())
    assert main(["data", "clean", source, "--output", str(tmp_path / "c.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows_written"] == 60
    assert main(["data", "split", source, "-o", str(tmp_path / "parts"), "--test-fraction", "2"]) == 2
    assert main(["data", "split", source, "-o", str(tmp_path / "parts"), "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["test"] == 12


def test_the_header_is_taken_as_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "rows.csv", rows(60))

    def answer(*arguments: str, code: int = 0) -> Any:
        assert main(["data", *arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    for option, count in (("--header", 60), ("--no-header", 61)):
        code = int(option == "--no-header")  # the line of names is a class with a single row then
        assert answer("check", source, "--model", "none", option, "--target", "2", code=2)["error"]
        target = "label" if option == "--header" else "column_2"
        told = (option, "--target", target)
        assert answer("check", source, "--model", "none", *told, code=code)["rows"] == count
        assert answer("clean", source, "-o", str(tmp_path / f"{count}.csv"), *told)["rows_read"] == count
    assert sum(answer("split", source, "-o", str(tmp_path / "parts"), "--header")["rows"].values()) == 60
    refused = answer("split", source, "-o", str(tmp_path / "none"), "--no-header", code=2)
    assert "a single row" in refused["error"]["faults"][0]["what"]


def test_a_delimiter_of_several_characters_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "rows.csv", rows(60))
    assert main(["data", "check", source, "--delimiter", "tab", "--model", "none", "--json"]) == 2
    (fault,) = json.loads(capsys.readouterr().out)["error"]["faults"]
    assert fault["what"] == "the delimiter 'tab' is not one character"


def test_a_check_needs_no_torch(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.csv", rows(60))
    code = (
        "import sys\n"
        "from feinschliff.cli.main import main\n"
        f"assert main(['data', 'check', {source!r}, '--model', 'none']) == 0\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


PAIRS = [(text, " ".join(reversed(text.split())), label) for text, label in rows(60)]


@pytest.mark.parametrize("named", [(), ("--text", "question", "--text", "answer")], ids=["found", "named"])
def test_a_model_adds_lengths_and_label_errors(
    tmp_path: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str], named: tuple[str, ...]
) -> None:
    source = write(tmp_path / "pairs.csv", PAIRS, ("question", "answer", "label"))
    assert main(["data", "check", source, *named, "--model", str(tiny_bert), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["columns"]["text"] == ["question", "answer"]
    assert report["lengths"]["longest"] > report["lengths"]["median"] > 4
    assert [finding for finding in report["findings"] if finding["kind"] == "label_error"]
    assert "judged with tiny_bert" in report["columns"]["announcements"][-1]


def test_the_lengths_of_pairs_are_those_a_run_has(tmp_path: Path, tiny_bert: Path) -> None:
    data = [{"question": f"where is it\n{one}", "answer": other, "label": label} for one, other, label in PAIRS]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, data)))
    config = DataConfig(train=(str(tmp_path / "pairs.jsonl"),))
    lengths = check(config, model_hooks(config, str(tiny_bert))).lengths
    assert lengths is not None
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    expected = [len(tokenizer(str(row["question"]), str(row["answer"]))["input_ids"]) for row in data]
    assert (lengths.mean, lengths.longest) == (sum(expected) / len(expected), max(expected))


def test_without_its_default_model_a_check_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEINSCHLIFF_OFFLINE", "1")
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    source = write(tmp_path / "rows.csv", rows(60))
    assert main(["data", "check", source, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["lengths"] is None
    assert "suspected label errors were left out: " in report["columns"]["announcements"][-1]
    assert main(["data", "check", source, "--model", "minilm-l6"]) == 2
    assert "offline" in capsys.readouterr().err


TALKS = "".join(
    json.dumps({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}]}) + "\n"
    for text, _ in rows(30)
)


def test_lengths_of_conversations_are_those_of_rows_as_they_are_learned(
    tmp_path: Path, tiny_decoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talks.jsonl").write_text(TALKS)
    source = str(tmp_path / "talks.jsonl")
    assert main(["data", "check", source, "--model", str(tiny_decoder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert main(["data", "show", source, "--model", str(tiny_decoder), "-n", "30", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    lengths = [row["num_tokens"] - 1 for row in shown["shown"]]
    assert report["lengths"]["longest"] == max(lengths)
    assert report["lengths"]["mean"] == pytest.approx(sum(lengths) / len(lengths))
    assert report["lengths"]["limit"] == 256
    assert "its template and all" in report["columns"]["announcements"][-1]


def test_a_check_of_conversations_without_a_model(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talks.jsonl").write_text(TALKS)
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FEINSCHLIFF_OFFLINE", "1")
    config = DataConfig(train=(str(tmp_path / "talks.jsonl"),))
    hooks = model_hooks(config)
    assert hooks.count_tokens is None
    assert "lengths in tokens were left out" in hooks.note
    with pytest.raises(ModelError, match="no decoder"):
        model_hooks(config, str(tiny_bert))


def test_a_run_on_conversations_measures_them_likewise(tmp_path: Path, tiny_decoder: Path) -> None:
    (tmp_path / "talks.jsonl").write_text(TALKS)
    config = DataConfig(train=(str(tmp_path / "talks.jsonl"),))
    run = RunConfig.model_validate({"model": {"source": str(tiny_decoder)}, "task": {"type": "sft"}, "data": config})
    frozen = FrozenEncoder(run, resolve_model(str(tiny_decoder)), TaskContext((), multi_label=False, num_texts=1))
    during, before = check(config, frozen.hooks()), check(config, model_hooks(config, str(tiny_decoder)))
    assert during.lengths == before.lengths
    assert during.lengths is not None


def test_the_command_line_says_what_was_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [(f"{text} jane@firma.de", label, "bob@firma.de") for text, label in rows(20)]
    source = write(tmp_path / "rows.csv", data, ("text", "label", "by"))
    assert main(["data", "clean", source, "--redact"]) == 0
    said = capsys.readouterr().out
    assert "personal data replaced in 20 rows: 40 [EMAIL]" in said
    assert "of these in column 'by', which is not learned: 20 [EMAIL]" in said
    assert main(["data", "clean", source, "--overwrite"]) == 0
    assert "personal data" not in capsys.readouterr().out
    assert main(["data", "split", source, "--redact", "-o", str(tmp_path / "out")]) == 0
    assert "personal data replaced in 20 rows: 20 e-mail addresses" in capsys.readouterr().out
    assert "firma" not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())
