"""Text files that are documents: each file one text, alone or in folders; its lines end in line feeds.

Knows no tokenizer and no class.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.data.delimited import checked_lines
from feinschliff.data.encodings import find_encoding, inner_suffix, open_bytes, open_text
from feinschliff.data.examples import Place
from feinschliff.data.tables import FaultList, Row, Table
from feinschliff.errors import DataError

SUFFIXES = (".txt", ".md")
ALWAYS = (".md",)
"""Documents whatever the rows are for; a .txt file is one where documents are asked for, else a text a line."""
_WRITTEN_AS = ".jsonl"
_FEW_BYTES = 4096


def holds_documents(name: str) -> bool:
    """Whether a source of this name is a document or a folder of such, if its only column is a text."""
    return inner_suffix(Path(name)) in ALWAYS or Path(name).expanduser().is_dir()


def open_document(path: Path, name: str, config: DataConfig) -> Table:
    """Open a text file as one row.

    Raises:
        DataError: empty or not text.
    """
    encoding = config.encoding or find_encoding(path)
    said = [f"{name}: one document, {encoding}"]
    return Table(name, ["text"], lambda: _rows([(path, name)], config), said, _WRITTEN_AS)


def is_document_folder(path: Path) -> bool:
    """Whether text files lie in the folder itself and none in a folder below it, where they would have classes."""
    below = any(file.is_file() and inner_suffix(file) == ".txt" for file in path.glob("*/**/*"))
    return not below and any(file.is_file() and inner_suffix(file) in SUFFIXES for file in path.iterdir())


def open_document_folder(path: Path, name: str, config: DataConfig) -> Table:
    """Open a folder: each text file in it, however deep, is a row.

    Raises:
        DataError: no text file; the files that lie there instead are named.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file())
    texts = [(file, str(Path(name) / file.relative_to(path))) for file in files if inner_suffix(file) in SUFFIXES]
    if not texts:
        inside = ", ".join(file.relative_to(path).as_posix() for file in files[:5]) or "nothing"
        raise DataError("the folder holds no documents", where=name, why=f"it holds {inside}",
                        remedy=f"name a folder with {' or '.join(SUFFIXES)} files")  # fmt: skip
    said = [f"{name}: {len(texts):,} documents"]
    if len(texts) < len(files):
        other = next(file for file in files if inner_suffix(file) not in SUFFIXES).relative_to(path).as_posix()
        others = f"{len(files) - len(texts):,} files left out (such as {other})"
        said.append(f"{name}: {others}: only {' and '.join(SUFFIXES)} files are texts")
    return Table(name, ["text"], lambda: _rows(texts, config), said, _WRITTEN_AS)


def _rows(files: list[tuple[Path, str]], config: DataConfig) -> Iterator[Row]:
    faults = FaultList()
    for path, name in files:
        place = Place(name, 1)
        if _is_blank(path):
            yield Row({"text": ""}, place)
            continue
        try:
            encoding = config.encoding or find_encoding(path)
        except DataError as error:
            faults.add(error.faults[0].what, name, error.faults[0].why, error.faults[0].remedy)
            continue
        with open_text(path, encoding) as lines:
            text = "".join(checked_lines(lines, encoding, name, faults))
        yield Row({"text": text.replace("\r\n", "\n")}, place)
    faults.raise_if_any()


def _is_blank(path: Path) -> bool:
    with open_bytes(path) as file:
        start = file.read(_FEW_BYTES)
    return len(start) < _FEW_BYTES and not start.strip()
