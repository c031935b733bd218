"""Readers: every format, encoding and delimiter gives the same rows with their places; every fault is told."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from feinschliff.config.data import DataConfig
from feinschliff.data.sources import open_rows, open_tables, sha256_of_sources
from feinschliff.errors import DataError

ROWS = [
    {"text": "Grüße an alle", "label": "hallo"},
    {"text": "zwei\nZeilen, mit Komma", "label": "b"},
    {"text": 'ein "Zitat"; hier', "label": "hallo"},
    {"text": "zu guter Letzt", "label": "b"},
]
LINES = [2, 3, 5, 6]


def csv_text(delimiter: str = ",") -> str:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if set(text) & set('",;|\t\n') else text

    rows = [["text", "label"], *([row["text"], row["label"]] for row in ROWS)]
    return "".join(delimiter.join(map(cell, row)) + "\n" for row in rows)


def read(path: Path | str, **config: object) -> list[tuple[dict[str, object], int]]:
    return [(dict(row.cells), row.place.line) for row in open_rows([str(path)], DataConfig.model_validate(config))]


def expected(lines: list[int]) -> list[tuple[dict[str, str], int]]:
    return list(zip(ROWS, lines, strict=True))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_and_physical_lines(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(delimiter), encoding="utf-8")
    assert read(path) == expected(LINES)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(csv_text().encode(encoding))
    assert read(path) == expected(LINES)


def test_cyrillic_and_far_away_umlauts(tmp_path: Path) -> None:
    russian = "текст,метка\n" + "где моя посылка сегодня утром,вопрос\nспасибо вам за быструю помощь,ответ\n" * 20
    path = tmp_path / "ru.csv"
    path.write_bytes(russian.encode("cp1251"))
    assert read(path)[0][0] == {"текст": "где моя посылка сегодня утром", "метка": "вопрос"}
    late = "text,label\n" + "plain words only,a\n" * 40_000 + "schöne Grüße,b\n"
    path.write_bytes(late.encode("cp1252"))
    assert read(path)[-1] == ({"text": "schöne Grüße", "label": "b"}, 40_002)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet", "rows.xlsx"])
def test_compressed(tmp_path: Path, name: str, suffix: str) -> None:
    plain = tmp_path / name
    write_format(plain)
    packed = tmp_path / (name + suffix)
    content = plain.read_bytes()
    packed.write_bytes(gzip.compress(content) if suffix == ".gz" else zstandard.ZstdCompressor().compress(content))
    assert read(packed) == read(plain)
    assert [cells for cells, _ in read(packed)] == ROWS


def write_format(path: Path) -> None:
    match path.suffix:
        case ".csv":
            path.write_text(csv_text(), encoding="utf-8")
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        case ".json":
            path.write_text(json.dumps(ROWS, indent=1, ensure_ascii=False), encoding="utf-8")
        case ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
        case ".xlsx":
            book = openpyxl.Workbook()
            for cells in (["text", "label"], *([row["text"], row["label"]] for row in ROWS)):
                book.active.append(cells)  # type: ignore[union-attr]
            book.save(path)


@pytest.mark.parametrize(
    ("name", "lines"),
    [("a.jsonl", [1, 2, 3, 4]), ("a.json", [2, 6, 10, 14]), ("a.parquet", [1, 2, 3, 4]), ("a.xlsx", [2, 3, 4, 5])],
)
def test_other_formats(tmp_path: Path, name: str, lines: list[int]) -> None:
    write_format(tmp_path / name)
    assert read(tmp_path / name) == expected(lines)


def test_json_object_with_one_array_and_lines_named_json(tmp_path: Path) -> None:
    wrapped = tmp_path / "wrapped.json"
    wrapped.write_text(json.dumps({"version": 1, "data": ROWS}))
    assert [cells for cells, _ in read(wrapped)] == ROWS
    lines = tmp_path / "lines.json"
    lines.write_text("\n".join(json.dumps(row) for row in ROWS))
    assert read(lines) == expected([1, 2, 3, 4])
    lines.write_text(json.dumps({"a": [1], "b": [2]}))
    with pytest.raises(DataError, match="an object with one array"):
        read(lines)


def test_records_that_share_a_line_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    assert read(path) == expected([1, 2, 3, 4])
    (table,) = open_tables([str(path)], DataConfig())
    assert "counts records, not lines" in table.announcements[-1]
    path.write_text("[\n" + ",\n".join(map(json.dumps, ROWS[:2])) + ", " + json.dumps(ROWS[2]) + ", 7]")
    with pytest.raises(DataError, match="a number instead of an object") as caught:
        read(path)
    assert caught.value.faults[0].where == f"{path}:4"


def test_folders_of_texts_globs_and_several_files(tmp_path: Path) -> None:
    for label, text in (("spam", "buy now"), ("ham", "see you\ntomorrow")):
        (tmp_path / "mails" / label).mkdir(parents=True)
        (tmp_path / "mails" / label / "1.txt").write_text(text)
    assert [cells for cells, _ in read(tmp_path / "mails")] == [
        {"text": "see you\ntomorrow", "label": "ham"},
        {"text": "buy now", "label": "spam"},
    ]
    for number in (1, 2):
        (tmp_path / f"part{number}.csv").write_text(f"text,label\nrow {number},a\n")
    assert [cells["text"] for cells, _ in read(tmp_path / "part*.csv")] == ["row 1", "row 2"]
    (tmp_path / "lines.txt").write_text("one text\nanother\n")
    assert [cells for cells, _ in read(tmp_path / "lines.txt")] == [{"text": "one text"}, {"text": "another"}]


def test_files_of_a_folder_that_are_no_texts_are_counted(tmp_path: Path) -> None:
    for name in ("ham/1.txt", "ham/2.md", "ham/old/3", "spam/1.txt", "LICENSE"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a text")
    (table,) = open_tables([str(tmp_path)], DataConfig())
    assert table.announcements == [
        f"{tmp_path}: 2 folders are the classes, 2 texts",
        f"{tmp_path}: 2 files left out (such as ham/2.md): only .txt files are texts",
        f"{tmp_path}: 1 files left out (such as LICENSE): a file beside the class folders has no class",
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".xlsx"])
def test_blank_rows_are_counted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    if suffix == ".xlsx":
        book = openpyxl.Workbook()
        for cells in (["text", "label"], ["a text", "a"], [], [], ["b text", "b"], [], [None, None]):
            book.active.append(cells)  # type: ignore[union-attr]
        book.save(path)
    else:
        lines = ["text,label", "a text,a", "", "", "b text,b"] if suffix == ".csv" else ['{"text": "a"}', "", "", "{}"]
        path.write_text("\n".join(lines) + "\n")
    (table,) = open_tables([str(path)], DataConfig())
    for _ in range(2):
        assert len(list(table.read())) == 2
    said = [note for note in table.announcements if "skipped" in note]
    assert said == [f"{path}: 2 blank {'rows' if suffix == '.xlsx' else 'lines'} skipped"]


def test_no_header_and_stray_quotes(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text('"oh my\t3,4\tid1\nhe said "yes"\t2\tid2\nfine, then\t27\tid3\n')
    assert [list(cells.values()) for cells, _ in read(path)] == [
        ['"oh my', "3,4", "id1"],
        ['he said "yes"', "2", "id2"],
        ["fine, then", "27", "id3"],
    ]
    assert list(read(path)[0][0]) == ["column_1", "column_2", "column_3"]
    assert list(read(path, header="yes")[0][0]) == ['"oh my', "3,4", "id1"]


def test_a_five_megabyte_cell(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "long " * 1_000_000 + ",a\nshort,b\n")
    assert [len(str(cells["text"])) for cells, _ in read(path)] == [5_000_000, 5]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rows.csv", "encoding utf-8, delimiter comma, header text, label"),
        ("rows.jsonl", "encoding utf-8, json records with text, label"),
        ("rows.json", "encoding utf-8, json records with text, label"),
    ],
)
def test_encoding_is_said_even_where_it_is_utf8(tmp_path: Path, name: str, said: str) -> None:
    write_format(tmp_path / name)
    (table,) = open_tables([str(tmp_path / name)], DataConfig())
    assert table.announcements == [f"{tmp_path / name}: {said}"]


def test_announcements(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(csv_text(";").encode("cp1252"))
    (table,) = open_tables([str(path)], DataConfig())
    assert any("cp1252" in note for note in table.announcements)
    assert any("semicolon" in note and "header text, label" in note for note in table.announcements)


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("empty.csv", b"", ["empty.csv", "empty"]),
        ("blank.csv", b" \n\n", ["empty"]),
        ("binary.csv", bytes(range(256)) * 8, ["not text"]),
        ("book.csv", b"PK\x03\x04....", ["Excel", "rename"]),
        ("twice.csv", b"text,label,text,label\na,b,c,d\n", ["'text' 2 times", "columns 1, 3", "'label'"]),
        ("ragged.csv", b'text,label\na,b\n"x\ny",a,c\nfoo\nq,b\n', ["ragged.csv:3: 3 cells", "ragged.csv:5: 1 cells"]),
        ("quote.csv", b'text,label\n"a, x",b\n"never closed,b\nc,d\n', ["quote.csv:3", "never closed"]),
        ("invalid.csv", b"text,label\nbad \xff\xfe,a\nfine,b\nbad \x81,b\n", ["invalid.csv:2", "0xFF 0xFE", "csv:4"]),
        ("utf8.csv", "text,label\nÄÖÜ äöü ß,a\n".encode() + b"bad \xe4,b\n", ["utf8.csv:3", "0xE4", "encoding"]),
        ("wrong.jsonl", b'{"text": "a", "label": 1}\n{"text": \n[1]\n', ["wrong.jsonl:2", "wrong.jsonl:3", "list"]),
        ("wrong.json", b'[{"text": "a"}, {"text": }]', ["wrong.json:1", "not json"]),
        ("wrong.parquet", b"nonsense", ["parquet"]),
        ("wrong.xlsx", b"nonsense", ["Excel"]),
        ("torn.csv.gz", gzip.compress(b"text,label\n" + b"a,b\n" * 9999, mtime=0)[:60], ["damaged"]),
        ("rows.doc", b"text", ["unknown format", ".csv"]),
    ],
)
def test_faults(tmp_path: Path, name: str, content: bytes, parts: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert caught.value.exit_code == 2
    for part in parts:
        assert part in str(caught.value)


def test_faults_are_capped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n" + "a,b\n" * 30 + "a,b,c\n" * 50)
    with pytest.raises(DataError, match=r"\.\.\. and 30 more") as caught:
        read(tmp_path / "rows.csv")
    assert len(caught.value.faults) == 21


def test_missing_files_name_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text("text,label\na,b\n")
    with pytest.raises(DataError) as caught:
        open_rows([str(tmp_path / "tickest.csv"), str(tmp_path / "nowhere" / "x.csv")], DataConfig())
    first, second = caught.value.faults
    assert "tickets.csv" in (first.remedy or "")
    assert "no folder" in (second.why or "")


def test_hash_follows_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,b\n")
    before = sha256_of_sources([str(path)])
    path.write_text("text,label\na,c\n")
    assert list(before) == [str(path)]
    assert before != sha256_of_sources([str(path)])


def test_max_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *([f"row {number}", "a"] for number in range(100))])
    assert len(read(path, max_rows=7)) == 7


def test_real_files(shared_data: Path) -> None:
    counts = {
        "sst2/train.tsv": 6920,
        "banking77/train.csv": 10003,
        "goemotions/train.tsv": 12000,
        "stsb/stsb-en-train.csv": 5749,
    }
    for name, count in counts.items():
        assert len(read(shared_data / name)) == count
