"""Text in folders, one folder a class, and plain text files, one text a line. Knows no meaning of a class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.data.delimited import checked_lines
from feinschliff.data.encodings import find_encoding, inner_suffix, open_text
from feinschliff.data.examples import Place
from feinschliff.data.tables import FaultList, Row, Table
from feinschliff.errors import DataError


def open_folder(path: Path, name: str, config: DataConfig) -> Table:
    """Open a folder whose subfolders are classes with one text file a row.

    Raises:
        DataError: no subfolder with text files; the data files that lie there instead are named.
    """
    classes = {folder.name: sum(1 for _ in _text_files(folder)) for folder in sorted(path.iterdir()) if folder.is_dir()}
    filled = {label: count for label, count in classes.items() if count}
    if not filled:
        inside = ", ".join(sorted(file.name for file in path.iterdir())[:5]) or "nothing"
        raise DataError("the folder has no subfolders with .txt files or images", where=name, why=f"it holds {inside}",
                        remedy=f"name a file in it, or {name}/*.csv, or make one subfolder per class")  # fmt: skip
    said = [f"{name}: {len(filled)} folders are the classes, {sum(filled.values()):,} texts"]
    said += [f"{name}: no text in {label}" for label, count in classes.items() if not count]
    said += _left_out(path, name, list(classes))
    return Table(name, ["text", "label"], lambda: _folder_rows(path, name, list(filled), config), said)


def _text_files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file() and inner_suffix(file) == ".txt")


def _left_out(path: Path, name: str, classes: list[str]) -> Iterator[str]:
    """Which files are no rows, and why not; one sentence a reason."""
    beside = [file for file in sorted(path.iterdir()) if file.is_file()]
    files = [file for label in classes for file in sorted((path / label).rglob("*")) if file.is_file()]
    others = [file for file in files if inner_suffix(file) != ".txt"]
    for found, why in ((others, "only .txt files are texts"), (beside, "a file beside the class folders has no class")):
        if found:
            example = found[0].relative_to(path).as_posix()
            yield f"{name}: {len(found):,} files left out (such as {example}): {why}"


def _folder_rows(path: Path, name: str, classes: list[str], config: DataConfig) -> Iterator[Row]:
    faults = FaultList()
    for label in classes:
        for file in _text_files(path / label):
            place = Place(str(Path(name) / file.relative_to(path)), 1)
            try:
                encoding = config.encoding or find_encoding(file)
            except DataError as error:
                if file.stat().st_size:
                    faults.add(error.faults[0].what, str(file), error.faults[0].why, error.faults[0].remedy)
                else:
                    yield Row({"text": "", "label": label}, place)
                continue
            with open_text(file, encoding) as lines:
                text = "".join(checked_lines(lines, encoding, place.file, faults))
            yield Row({"text": text, "label": label}, place)
    faults.raise_if_any()


def open_plain_text(path: Path, name: str, config: DataConfig) -> Table:
    """Open a .txt file: one text a line, no label.

    Raises:
        DataError: empty or not text.
    """
    encoding = config.encoding or find_encoding(path)
    return Table(name, ["text"], lambda: _plain_rows(path, name, encoding), [f"{name}: one text a line, {encoding}"])


def _plain_rows(path: Path, name: str, encoding: str) -> Iterator[Row]:
    faults = FaultList()
    with open_text(path, encoding) as file:
        for number, line in enumerate(checked_lines(file, encoding, name, faults), 1):
            yield Row({"text": line.rstrip("\r\n")}, Place(name, number))
    faults.raise_if_any()
