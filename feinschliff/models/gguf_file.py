"""Reads a GGUF file (llama.cpp's format): its metadata at once, its tensors when they are asked for, part by part.

Knows neither architectures nor Hugging Face's formats. Layout, little-endian: ``GGUF``, version, numbers of tensors and
of metadata entries; the entries (name, type, value); the tensors' names, sizes, types and places; the tensors. What a
quantised block of each type means is the ``gguf`` package's knowledge.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feinschliff.errors import ModelError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBERS = ("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<?", "", "", "<u8", "<i8", "<f8")
"""Metadata types in their order, as NumPy writes them; 8 is a string, 9 an array."""
_STRING, _ARRAY = 8, 9
_ALIGNMENT_BYTES = 32
_MAX_DIMENSIONS = 4
_PART_VALUES = 1 << 22
"""Values that are dequantised at once: 16 MB of fp32."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor, still as the file has it."""

    shape: tuple[int, ...]
    """The slowest dimension first, as PyTorch has it."""
    rows: Bytes
    """The bytes of its rows [R, B]; a row is the last dimension. No block of a quantised type crosses two rows."""
    kind: int
    """A ``gguf.GGMLQuantizationType``."""
    added: float = 0.0
    """What is to be added to each value."""

    @property
    def type_name(self) -> str:
        """What ggml calls the type: ``Q4_1``."""
        from gguf import GGMLQuantizationType

        return GGMLQuantizationType(self.kind).name

    def parts(self) -> Iterator[Floats]:
        """The values in fp32, flat, in order, in parts of a few MB."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        kind = GGMLQuantizationType(self.kind)
        step = max(1, _PART_VALUES // max(self.shape[-1], 1))
        for begin in range(0, len(self.rows), step):
            part = np.ascontiguousarray(self.rows[begin : begin + step])
            values: Floats = dequantize(part, kind).reshape(-1)
            yield values + np.float32(self.added) if self.added else values

    def plus(self, added: float) -> Stored:
        """The tensor with ``added`` added to each value."""
        return replace(self, added=self.added + added)

    def in_order(self, order: npt.NDArray[np.int64]) -> Stored:
        """The tensor with its rows in another order (a vector's elements are no rows)."""
        return replace(self, rows=self.rows[order])


@dataclass(frozen=True, slots=True)
class GgufFile:
    """All that a file holds."""

    path: Path
    metadata: dict[str, Any]
    """Numbers, truth values, strings, and lists of them."""
    tensors: dict[str, Stored]

    def refusal(self, why: str, remedy: str | None = None) -> ModelError:
        """The error for a file that cannot be used."""
        return _refusal(self.path, why, remedy)


def read(file: Path) -> GgufFile:
    """Read a file; the weights stay on the disk until their parts are asked for.

    Raises:
        ModelError: it is not of this format, of another version, one part of several, truncated, or damaged.
    """
    cursor = _Cursor(file)
    if bytes(cursor.take(4)) != MAGIC:
        raise cursor.refusal("it does not start with GGUF")
    version, num_tensors, num_entries = cursor.unpack("<IQQ")
    if version not in _VERSIONS:
        big_endian = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
        what = "it is written for big-endian machines" if big_endian else f"version {version}"
        raise cursor.refusal(f"{what}; little-endian files of version 2 and 3 are read")
    metadata: dict[str, Any] = {}
    for _ in range(num_entries):
        name = cursor.string()
        metadata[name] = cursor.value(cursor.number("<u4"))
    if metadata.get("split.count", 1) != 1:
        remedy = "join the parts with llama-gguf-split --merge, and name the file that it writes"
        raise cursor.refusal(f"it is one of {metadata['split.count']} parts of a model", remedy)
    alignment = metadata.get("general.alignment", _ALIGNMENT_BYTES)
    if not isinstance(alignment, int) or alignment < 1:
        raise cursor.refusal(f"damaged: its tensors are said to lie at multiples of {alignment}")
    return GgufFile(file, metadata, _tensors(cursor, num_tensors, alignment))


class _Cursor:
    """A place in a file, which never leaves it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.place = 0
        try:
            with open(file, "rb") as content:
                self.content = mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise self.refusal(str(error)) from error

    def refusal(self, why: str, remedy: str | None = None) -> ModelError:
        """The error for a file that cannot be used."""
        return _refusal(self.file, why, remedy)

    def part(self, begin: int, num_bytes: int) -> memoryview:
        """Bytes anywhere in the file, not copied."""
        if begin < 0 or num_bytes < 0 or begin + num_bytes > len(self.content):
            raise self.refusal(f"truncated: {begin + num_bytes:,} bytes needed, {len(self.content):,} there")
        return memoryview(self.content)[begin : begin + num_bytes]

    def take(self, num_bytes: int) -> memoryview:
        """The next bytes."""
        found = self.part(self.place, num_bytes)
        self.place += num_bytes
        return found

    def unpack(self, form: str) -> tuple[Any, ...]:
        """The next values, as ``struct`` writes them."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def number(self, form: str) -> int:
        """The next number, as NumPy writes its type."""
        return int(np.frombuffer(self.take(np.dtype(form).itemsize), form)[0])

    def string(self) -> str:
        """The next string."""
        (length,) = self.unpack("<Q")
        try:
            return str(self.take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise self.refusal(f"damaged: text that is not UTF-8 before byte {self.place:,}") from error

    def value(self, kind: int) -> Any:
        """The next metadata value."""
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, count = self.unpack("<IQ")
            if inner in (_STRING, _ARRAY):
                self.part(self.place, 8 * count)  # an absurd count is refused before anything is read
                return [self.value(inner) for _ in range(count)]
            return self._numbers(inner, count).tolist()
        return self._numbers(kind, 1)[0].item()

    def _numbers(self, kind: int, count: int) -> npt.NDArray[Any]:
        form = _NUMBERS[kind] if kind < len(_NUMBERS) else ""
        if not form:
            raise self.refusal(f"damaged: metadata of an unknown type {kind} before byte {self.place:,}")
        return np.frombuffer(self.take(np.dtype(form).itemsize * count), form)


def _tensors(cursor: _Cursor, number: int, alignment: int) -> dict[str, Stored]:
    table = {}
    for _ in range(number):
        name = cursor.string()
        dimensions = cursor.number("<u4")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise cursor.refusal(f"damaged: tensor {name} has {dimensions} dimensions")
        table[name] = (cursor.unpack(f"<{dimensions}Q")[::-1], *cursor.unpack("<IQ"))
    if len(table) != number:
        raise cursor.refusal("damaged: tensors of the same name")
    begin = math.ceil(cursor.place / alignment) * alignment
    return {name: _stored(cursor, name, shape, kind, begin + at) for name, (shape, kind, at) in table.items()}


def _stored(cursor: _Cursor, name: str, shape: tuple[int, ...], kind: int, begin: int) -> Stored:
    block, block_bytes = _block(cursor, name, kind)
    if min(shape) < 1 or shape[-1] % block:
        raise cursor.refusal(f"damaged: tensor {name} of sizes {shape} in blocks of {block}")
    num_rows, row_bytes = math.prod(shape[:-1]), shape[-1] // block * block_bytes
    content = np.frombuffer(cursor.part(begin, num_rows * row_bytes), np.uint8)
    return Stored(shape, content.reshape(num_rows, row_bytes), kind)


def _block(cursor: _Cursor, name: str, kind: int) -> tuple[int, int]:
    """Values and bytes of one block of the type, where its values can be had."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    try:
        known = GGMLQuantizationType(kind)
        block, block_bytes = GGML_QUANT_SIZES[known]
        dequantize(np.zeros((1, block_bytes), np.uint8), known)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise cursor.refusal(f"tensor {name} is of a type that cannot be read: {error}") from error
    return block, block_bytes


def _refusal(file: Path, why: str, remedy: str | None = None) -> ModelError:
    return ModelError(
        f"{file.name} is not a GGUF model that can be read",
        where=str(file),
        why=why,
        remedy=remedy or "delete it and fetch it again; or name another model",
    )
