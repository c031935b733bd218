"""CoNLL: layouts met in the wild give the same sentences; every fault has its line; what is written is read again."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from feinschliff.config.data import DataConfig
from feinschliff.data.conll import conll_lines, looks_like_conll
from feinschliff.data.sources import Source, open_table, open_tables, read_tables
from feinschliff.data.span_columns import SpanColumns, looks_like_spans
from feinschliff.data.span_rows import SpanReader, with_scheme
from feinschliff.errors import DataError
from feinschliff.lifecycle.data import clean, split

SENTENCES = [
    (["Angela", "Merkel", "besuchte", "Köln"], ["B-PER", "I-PER", "O", "B-LOC"], 1),
    (["Ja", "."], ["O", "O"], 6),
]
PLAIN = "Angela B-PER\nMerkel I-PER\nbesuchte O\nKöln B-LOC\n\nJa O\n. O\n"
Sentences = list[tuple[list[str], list[str], int]]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def read(path: Path, **config: object) -> tuple[Sentences, list[str]]:
    """Tokens, tags and line of each row, and what was said, without the file's name."""
    tables = open_tables([str(path)], DataConfig.model_validate(config))
    found = [(*row.cells.values(), row.place.line) for row in read_tables(tables)]
    return found, [note.removeprefix(f"{path}: ") for note in tables[0].announcements]  # type: ignore[return-value]


def sentences(path: Path, **config: object) -> Sentences:
    return read(path, **config)[0]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (PLAIN, (1, 6)),
        (PLAIN.replace(" ", "\t"), (1, 6)),
        (PLAIN.replace(" ", "  \t "), (1, 6)),
        (PLAIN.replace("\n", "\r\n"), (1, 6)),
        (PLAIN.replace("\n", "\r"), (1, 6)),
        (PLAIN.rstrip("\n"), (1, 6)),
        (PLAIN + "\n\n \n\t\n", (1, 6)),
        ("\n\n" + PLAIN.replace("\n\n", "\n \n\n"), (3, 9)),
        ("\ufeff" + PLAIN, (1, 6)),
        (PLAIN.replace("\n", "\t\n").replace(" ", "\t"), (1, 6)),
        ("-DOCSTART- O\n\n" + PLAIN.replace("\n\n", "\n-DOCSTART- O\n"), (3, 8)),
        ("# id = 1\n" + PLAIN.replace("Merkel", "# a remark\nMerkel"), (2, 8)),
        ("token\ttag\n" + PLAIN.replace(" ", "\t"), (2, 7)),
    ],
)
def test_layouts(tmp_path: Path, text: str, lines: tuple[int, int]) -> None:
    expected = [(*row[:2], line) for row, line in zip(SENTENCES, lines, strict=True)]
    assert sentences(write(tmp_path / "a.conll", text)) == expected
    assert sentences(write(tmp_path / "a.txt", text)) == expected
    assert sentences(write(tmp_path / "a.tsv", text)) == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize("name", ["a.conll", "a.txt"])
def test_encodings(tmp_path: Path, encoding: str, name: str) -> None:
    text = f"{PLAIN}\n" * 4
    assert sentences(write(tmp_path / name, text, encoding))[:2] == SENTENCES
    assert sentences(write(tmp_path / name, text, encoding), encoding=encoding)[:2] == SENTENCES


@pytest.mark.parametrize("name", ["a.iob.gz", "a.bio.zst", "a.txt.gz", "a.tsv.zst"])
def test_compressed(tmp_path: Path, name: str) -> None:
    content = PLAIN.encode()
    packed = gzip.compress(content) if name.endswith("gz") else zstandard.ZstdCompressor().compress(content)
    (tmp_path / name).write_bytes(packed)
    assert sentences(tmp_path / name) == SENTENCES


def test_more_columns_are_told_and_can_be_taken(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\nJAPAN NNP B-NP B-LOC\nGET VB B-VP O\n\nLUCKY NNP I-NP O\n"
    path = write(tmp_path / "a.conll", text)
    found, said = read(path)
    assert found == [(["JAPAN", "GET"], ["B-LOC", "O"], 3), (["LUCKY"], ["O"], 6)]
    assert said == [
        "CoNLL, encoding utf-8, 4 columns with blanks between, tokens from column 1, tags from column 4",
        "columns not used: column_2, column_3 (tags from another one: --target column_3)",
        "1 -DOCSTART- lines skipped",
    ]
    table = open_table(Source(str(path), path), DataConfig(target="column_3"))
    assert table.columns == ["tokens", "column_3"]
    assert [row.cells["column_3"] for row in table.read()] == [["B-NP", "B-VP"], ["I-NP"]]


@pytest.mark.parametrize("first", [0, 1])
def test_a_first_column_that_counts_is_no_token(tmp_path: Path, first: int) -> None:
    rows = [f"{place}\t{token}\t{tag}\n" for place, (token, tag) in enumerate([("a", "O"), ("b", "B-X")], first)]
    path = write(tmp_path / "a.tsv", "# source\thttp://\n" + "".join(rows) + "\n" + "".join(rows))
    assert sentences(path) == [(["a", "b"], ["O", "B-X"], 2), (["a", "b"], ["O", "B-X"], 5)]
    path = write(tmp_path / "years.conll", "1 CD O\n2 CD O\n\n3 CD B-X\n")
    assert sentences(path)[1] == (["3"], ["B-X"], 4)


def test_hash_signs_and_odd_blanks_in_tokens(tmp_path: Path) -> None:
    text = "# comment here\n#\tO\n#tag\tB-X\nNew\u00a0York\tB-LOC\n\u00a0\tO\nSan Jose\tI-LOC\n\u2028\tO\n"
    found, said = read(write(tmp_path / "a.conll", text))
    assert found == [(["#", "#tag", "New\u00a0York", "\u00a0", "San Jose", "\u2028"],
                      ["O", "B-X", "B-LOC", "O", "I-LOC", "O"], 2)]  # fmt: skip
    assert said[-1] == "1 comment lines skipped"


def test_plain_tags_need_the_suffix(tmp_path: Path) -> None:
    text = "# remark\nJa O\n# O\nKöln LOC\n\nBonn LOC\n"
    assert sentences(write(tmp_path / "a.conll", text)) == [
        (["Ja", "#", "Köln"], ["O", "O", "LOC"], 2),
        (["Bonn"], ["LOC"], 6),
    ]
    assert read(write(tmp_path / "a.txt", text))[1] == ["one text a line, utf-8"]


def test_faults_have_their_lines(tmp_path: Path) -> None:
    text = "a X B-X\nb X O\nc\n\nd X Y O\ne O\n\ufdd0 X O\n"
    path = write(tmp_path / "a.conll", text)
    with pytest.raises(DataError) as caught:
        sentences(path)
    assert [(fault.where, fault.what) for fault in caught.value.faults] == [
        (f"{path}:3", "no tag behind 'c'"),
        (f"{path}:5", "4 columns instead of 3"),
        (f"{path}:6", "2 columns instead of 3"),
        (f"{path}:7", "bytes that are not utf-8: "),
    ]
    with pytest.raises(DataError, match=r"a\.tsv:2: no token: its column is empty"):
        sentences(write(tmp_path / "a.tsv", "a\tB-X\n\tO\n" + "b\tO\n" * 20))
    with pytest.raises(DataError, match="most lines hold a token and no tag"):
        sentences(write(tmp_path / "words.conll", "one\ntwo\nthree O\n"))
    with pytest.raises(DataError, match="holds no tokens"):
        sentences(write(tmp_path / "empty.conll", "-DOCSTART- O\n\n# x\n"))
    with pytest.raises(DataError, match="the file is empty"):
        sentences(write(tmp_path / "nothing.conll", "\n\n"))
    (tmp_path / "bytes.conll").write_bytes("äöü O\nx B-X\n".encode() * 50 + b"\x80 O\n")
    with pytest.raises(DataError, match="0x80"):
        sentences(tmp_path / "bytes.conll")


def test_rows_are_streamed(tmp_path: Path) -> None:
    """A fault far down the file does not keep the rows above it from being read."""
    path = write(tmp_path / "a.conll", PLAIN + "\n" + "\n".join(["x O\n"] * 5000) + "\nfault\n")
    rows = open_table(Source(str(path), path), DataConfig()).read()
    assert next(rows).cells["tokens"] == SENTENCES[0][0]
    assert len(sentences(path, max_rows=2)) == 2
    with pytest.raises(DataError, match="no tag behind 'fault'"):
        list(rows)


def test_a_file_without_blank_lines_is_told(tmp_path: Path) -> None:
    assert "the whole file is one row of 1,002 tokens" in read(write(tmp_path / "a.conll", "x O\ny B-Z\n" * 501))[1][-1]


@pytest.mark.parametrize(
    "text",
    [
        "text\tlabel\na good film\tB-1\na bad film\tO\n",
        "good film\tpositive\nbad film\tnegative\n",
        "word\tclass\nhouse\tB\ntree\tI\n",
        "one text a line\nB-12 is a vitamin\n\nanother line\n",
        "Ja O\nnein O\n",
        "single\nwords\n",
        "",
        "I see vitamin B-12\nyou see vitamin B-12\nwe took S-1\n",
    ],
)
def test_other_files_are_not_taken_for_conll(tmp_path: Path, text: str) -> None:
    for name in ("a.tsv", "a.txt"):
        assert not looks_like_conll(write(tmp_path / name, text), DataConfig())
    (tmp_path / "b.txt").write_bytes(b"\x00\x01\x02\xff" * 50)
    assert not looks_like_conll(tmp_path / "b.txt", DataConfig())


TOKEN = st.text(st.characters(exclude_characters="\t\r\n", codec="utf-8"), min_size=1).filter(
    lambda token: token.strip(" ") == token and "\0" not in token and not set(token) & {"\ufdd0", "\ufdd1", "\ufeff"}
    and not token.startswith("-DOCSTART-")
)  # fmt: skip


@given(st.lists(st.lists(st.tuples(TOKEN, st.sampled_from(["O", "B-X", "I-X"])), min_size=1), min_size=1, max_size=5))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[tuple[str, str]]]
) -> None:
    rows = [[("x", "B-X")], *rows]
    path = tmp_path_factory.mktemp("written") / "a.conll"
    lists = [([token for token, _ in row], [tag for _, tag in row]) for row in rows]
    write(path, "".join(conll_lines(*row) for row in lists))
    assert [row[:2] for row in sentences(path, encoding="utf-8")] == lists


def test_what_cannot_be_written_is_refused() -> None:
    for tokens, tags in ((["a", "b"], ["O"]), ([], []), (["a\tb"], ["O"]), (["a\n"], ["O"]), ([""], ["O"])):
        with pytest.raises(DataError, match="CoNLL"):
            conll_lines(tokens, tags)


def many(num_rows: int) -> str:
    names = ["Köln", "Bonn", "Rom", "Paris", "Athen", "Wien", "Bern"]
    lines = [
        f"Satz O\nNr O\n{n} O\nin O\n{names[n % 7]}{n // 7} B-LOC\n{names[n % 5]} I-LOC\n" for n in range(num_rows)
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.tsv", "a.bio.gz"])
def test_clean_and_split_write_conll_again(tmp_path: Path, name: str) -> None:
    text = many(60) + "\n" + many(1)
    packed = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    (tmp_path / name).write_bytes(packed)
    config = DataConfig(train=(str(tmp_path / name),))
    given = [row[:2] for row in sentences(tmp_path / name)]
    cleaned = clean(config)
    assert Path(cleaned.output).name == "a.clean.conll"
    assert [row[:2] for row in sentences(Path(cleaned.output))] == given[:60]
    parted = split(config, tmp_path / "out")
    assert {Path(path).suffix for path in parted.files.values()} == {".conll"}
    found = [row[:2] for path in parted.files.values() for row in sentences(Path(path))]
    assert len(found) + sum(parted.dropped.values()) == 61
    assert all(row in given for row in found)
    assert len(found) > 50


def test_only_tokens_and_tags_are_written_as_conll(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "text,label\n" + "".join(f"a text {n},{n % 2}\n" for n in range(8)))
    with pytest.raises(DataError, match="cannot be written as CoNLL"):
        clean(DataConfig(train=(str(tmp_path / "a.csv"),)), tmp_path / "out.conll")
    assert not (tmp_path / "out.conll").exists()


def test_german_legal_texts(shared_data: Path) -> None:
    """Sentences and entities of each type, counted apart from this reader (lines that begin with a token and B-)."""
    for name, num_sentences in (("dev", 6666), ("test", 6673)):
        path = shared_data / "german_ler" / f"ler_{name}.conll"
        tables = open_tables([str(path)], DataConfig())
        columns = looks_like_spans(tables[0].columns, list(read_tables(tables))[:100])
        assert columns is not None
        columns, said = with_scheme(columns, read_tables(tables))
        reader = SpanReader(columns)
        rows = list(reader.read(read_tables(tables)))
        lines = path.read_text(encoding="utf-8").splitlines()
        expected = Counter(line.split()[1][2:] for line in lines if " B-" in line)
        assert (columns.scheme, len(rows), reader.announcements()) == ("IOB2", num_sentences, [])
        assert Counter(span.label for _, _, spans in rows for span in spans) == expected
        assert len(expected) == 19
        assert said == [said[0]]
        assert said[0].startswith(f"IOB2 tags, {expected.total():,} entities of 19 types (GS {expected['GS']:,}, ")
        assert all(lines[row.place.line - 1].split()[0] == text.split()[0] for row, text, _ in rows)


def test_columns_are_found(tmp_path: Path) -> None:
    tables = open_tables([str(write(tmp_path / "a.conll", PLAIN))], DataConfig())
    found = looks_like_spans(tables[0].columns, list(read_tables(tables)))
    reason = "tokens in column 'tokens', a tag for each of them in column 'tags'"
    assert found == SpanColumns("tokens", "tags", "tags", reason)
