"""Bytes to text: decompression, binary files, and which encoding a file is in. Knows no columns and no rows."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import charset_normalizer
import zstandard

from feinschliff.errors import DataError

COMPRESSIONS = (".gz", ".zst")
_SAMPLE_BYTES = 1 << 18
_BOMS = {  # utf-32 first: its little-endian mark starts with that of utf-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_MAGIC = {
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "rename it to .xlsx if it is a workbook, else unpack it"),
    b"PAR1": ("a parquet file", "rename it to .parquet"),
    b"\x1f\x8b": ("gzip-compressed", "add .gz to its name"),
    b"\x28\xb5\x2f\xfd": ("zstd-compressed", "add .zst to its name"),
    b"\xd0\xcf\x11\xe0": ("an old Office document", "save it as .xlsx or .csv"),
    b"%PDF": ("a PDF", "export its table as csv"),
    b"\x89PNG": ("a PNG picture", "give a table of text"),
    b"\xff\xd8\xff": ("a JPEG picture", "give a table of text"),
    b"SQLite format 3": ("an SQLite database", "export a table as csv"),
    b"ARROW1": ("an Arrow file", "save it as parquet"),
}
_WESTERN = set("äöüßÄÖÜéèêëÉÈÊàâáãåÀÂÁÃÅçÇñÑíîïìÍÎóôòõøÓÔÕØúûùÚœŒæÆ“”„‘’‚–—…•€£¥§°©®™«»¿¡·´½²\xa0")
INVALID_START, INVALID_END = "\ufdd0", "\ufdd1"
"""Noncharacters of Unicode that mark where bytes could not be decoded; their hex digits stand between the two."""


def _mark_invalid(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return f"{INVALID_START}{error.object[error.start : error.end].hex()}{INVALID_END}", error.end


codecs.register_error("feinschliff-mark-invalid", _mark_invalid)


def inner_suffix(path: Path) -> str:
    """The suffix that says the format: ``.csv`` for ``rows.csv.gz``."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, decompressed while they are read."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if suffix == ".zst":
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(open(path, "rb"), closefd=True))
    return open(path, "rb")


def open_text(path: Path, encoding: str) -> TextIO:
    """The file as text, line ends untouched; undecodable bytes are marked, not lost (see ``INVALID_START``)."""
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, errors="feinschliff-mark-invalid", newline="")


def find_encoding(path: Path) -> str:
    """The encoding of a text file: byte order mark, UTF-8 if the whole file is valid, UTF-16 by its zeros, or a guess.

    Raises:
        DataError: the file is empty or not text.
    """
    with open_bytes(path) as file:
        sample = file.read(_SAMPLE_BYTES)
    _refuse_binary(path, sample)
    for mark, encoding in _BOMS.items():
        if sample.startswith(mark):
            return encoding
    utf16 = _utf16_without_mark(sample)
    if utf16:
        return utf16
    if b"\0" in sample:
        raise DataError("this is not text", where=str(path), why="it holds NUL bytes", remedy="give a table of text")
    broken = _first_block_that_is_not_utf8(path)
    return "utf-8" if broken is None else _legacy_encoding(broken)


def _refuse_binary(path: Path, sample: bytes) -> None:
    if not sample.strip():
        header = " a header and" if inner_suffix(path) in (".csv", ".tsv", ".tab") else ""
        raise DataError("the file is empty", where=str(path), remedy=f"give a file with{header} rows")
    for magic, (kind, remedy) in _MAGIC.items():
        if sample.startswith(magic):
            raise DataError(f"this is not text: it is {kind}", where=str(path), remedy=remedy)
    control = sum(sample[:4096].count(byte) for byte in (*range(1, 9), *range(14, 27)))
    if control > len(sample[:4096]) / 10:
        raise DataError("this is not text", where=str(path), why="a tenth of its bytes are control characters",
                        remedy="give a table of text")  # fmt: skip


def _utf16_without_mark(sample: bytes) -> str | None:
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    few = len(sample) // 200
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > max(few * 5, 1) and others <= few // 5:
            text = sample[: len(sample) // 2 * 2].decode(encoding, errors="replace")
            unreadable = sum(not (char.isprintable() or char in "\r\n\t") for char in text)
            if unreadable <= len(text) // 100:
                return encoding
    return None


def _blocks(path: Path) -> Iterator[bytes]:
    with open_bytes(path) as file:
        while block := file.read(1 << 20):
            yield block


def _first_block_that_is_not_utf8(path: Path) -> bytes | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    block = b""
    try:
        for block in _blocks(path):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return block
    return None


def _legacy_encoding(block: bytes) -> str:
    """An older encoding in which the text is plausible; else UTF-8, whose faults are then reported line by line."""
    as_utf8 = block.decode("utf-8", errors="replace")
    num_wrong = as_utf8.count("\ufffd")
    num_valid = sum(ord(char) > 127 for char in as_utf8) - num_wrong
    if num_valid > num_wrong:
        return "utf-8"
    western = block.decode("cp1252", errors="replace")
    foreign = [char for char in western if ord(char) > 127]
    num_letters = sum(char.isalpha() for char in western)
    if len(foreign) < 0.3 * num_letters and sum(char in _WESTERN for char in foreign) >= 0.95 * len(foreign):
        return "cp1252"
    if len(foreign) < max(8, 0.03 * num_letters):
        return "utf-8"
    guess = charset_normalizer.from_bytes(block[-_SAMPLE_BYTES:]).best()
    return guess.encoding if guess is not None and guess.chaos < 0.1 and guess.coherence > 0.3 else "utf-8"
