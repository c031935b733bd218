"""A GGUF file is read as it was written, by the format's own package; what is damaged or of another kind is refused."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

from feinschliff.errors import ModelError
from feinschliff.models import gguf_file
from tests.models import tiny_gguf as tiny

VALUES = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
METADATA: dict[str, tuple[GGUFValueType, Any]] = {
    "a.u8": (GGUFValueType.UINT8, 255),
    "a.i8": (GGUFValueType.INT8, -128),
    "a.u16": (GGUFValueType.UINT16, 65_535),
    "a.i16": (GGUFValueType.INT16, -32_768),
    "a.u32": (GGUFValueType.UINT32, 2**32 - 1),
    "a.i32": (GGUFValueType.INT32, -(2**31)),
    "a.u64": (GGUFValueType.UINT64, 2**64 - 1),
    "a.i64": (GGUFValueType.INT64, -(2**63)),
    "a.f32": (GGUFValueType.FLOAT32, 0.5),
    "a.f64": (GGUFValueType.FLOAT64, 0.1),
    "a.yes": (GGUFValueType.BOOL, True),
    "a.no": (GGUFValueType.BOOL, False),
    "a.text": (GGUFValueType.STRING, "Ü 😍\n"),
    "a.empty": (GGUFValueType.STRING, ""),
    "a.texts": (GGUFValueType.ARRAY, ["a", "", "é"]),
    "a.numbers": (GGUFValueType.ARRAY, [1, -2, 3]),
    "a.nested": (GGUFValueType.ARRAY, [[1, 2], [3]]),
}


def written(file: Path, *kinds: GGMLQuantizationType, metadata: bool = True) -> Path:
    """Every kind of metadata, and one matrix of each of ``kinds``."""
    writer = GGUFWriter(file, "none")
    for key, (kind, value) in METADATA.items() if metadata else ():
        writer.add_key_value(key, value, kind)
    for kind in kinds:
        writer.add_tensor(kind.name, quantize(VALUES, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


KINDS = [GGMLQuantizationType[name] for name in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("gguf") / "tiny.gguf", *KINDS)


def test_metadata_of_every_type(file: Path) -> None:
    found = gguf_file.read(file).metadata
    assert {key: found[key] for key in METADATA} == {key: value for key, (_, value) in METADATA.items()}
    assert found["a.yes"] is True
    assert isinstance(found["a.f32"], float)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_values(file: Path, kind: GGMLQuantizationType) -> None:
    stored = gguf_file.read(file).tensors[kind.name]
    assert (stored.shape, stored.type_name) == (VALUES.shape, kind.name)
    found = np.concatenate(list(stored.parts()))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.reshape(VALUES.shape), dequantize(quantize(VALUES, kind), kind))
    if kind.name == "F32":
        np.testing.assert_array_equal(found.reshape(VALUES.shape), VALUES)


def test_a_block_by_hand(file: Path) -> None:
    """Q8_0: a half-precision scale, then 32 signed bytes."""
    row = gguf_file.read(file).tensors["Q8_0"].rows[0].tobytes()
    (scale,) = struct.unpack("<e", row[:2])
    expected = np.array(struct.unpack("<32b", row[2:34]), np.float32) * np.float32(scale)
    np.testing.assert_array_equal(next(gguf_file.read(file).tensors["Q8_0"].parts())[:32], expected)


def test_parts_are_the_whole(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = gguf_file.read(file).tensors["Q4_1"]
    whole = list(stored.parts())
    monkeypatch.setattr(gguf_file, "_PART_VALUES", 4 * 64)
    parts = list(stored.parts())
    assert (len(whole), len(parts)) == (1, 2)
    np.testing.assert_array_equal(np.concatenate(parts), whole[0])


def test_rows_in_order_and_something_added(file: Path) -> None:
    stored = gguf_file.read(file).tensors["F32"]
    changed = stored.in_order(np.array([5, 4, 3, 2, 1, 0])).plus(-1.0)
    np.testing.assert_array_equal(next(changed.parts()).reshape(6, 64), VALUES[::-1] - 1)
    np.testing.assert_array_equal(next(stored.parts()).reshape(6, 64), VALUES)


def test_truncated_anywhere(file: Path, tmp_path: Path) -> None:
    content, cut = file.read_bytes(), tmp_path / "cut.gguf"
    for length in [0, 3, 4, 8, 23, 24, 30, 60, *range(100, len(content) - 32, 97), len(content) - 32]:
        cut.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"cut\.gguf is not a GGUF model that can be read") as error:
            gguf_file.read(cut)
        (fault,) = error.value.faults
        assert fault.where == str(cut)
        assert fault.why
        assert fault.remedy


def test_damaged_anywhere(file: Path, tmp_path: Path) -> None:
    """Bytes changed in what is not weights: read all the same, or refused, and never anything else."""
    content, draw, refused = file.read_bytes(), random.Random(0), 0
    for _ in range(300):
        place = draw.randrange(1000)
        damaged = content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
        (tmp_path / "damaged.gguf").write_bytes(damaged)
        try:
            gguf_file.read(tmp_path / "damaged.gguf")
        except ModelError:
            refused += 1
    assert 50 < refused < 300


def with_bytes(file: Path, tmp_path: Path, place: int, new: bytes) -> Path:
    content = bytearray(file.read_bytes())
    content[place : place + len(new)] = new
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(content)
    return changed


@pytest.mark.parametrize(
    ("place", "new", "why"),
    [
        (0, b"GGML", "does not start with GGUF"),
        (4, b"\x01\0\0\0", "version 1; little-endian files of version 2 and 3"),
        (4, b"\0\0\0\x03", "big-endian"),
        (8, b"\xff" * 8, "truncated|damaged"),
        (16, b"\xff" * 8, "truncated|damaged"),
        (24, b"\xff" * 8, "truncated"),
    ],
)
def test_contradictions(file: Path, tmp_path: Path, place: int, new: bytes, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        gguf_file.read(with_bytes(file, tmp_path, place, new))


def test_an_absurd_count_takes_no_memory(tmp_path: Path) -> None:
    entry = b"\x01\0\0\0\0\0\0\0k" + struct.pack("<IIQ", 9, 8, 2**60)
    (file := tmp_path / "absurd.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)
    with pytest.raises(ModelError, match="truncated"):
        gguf_file.read(file)


def tensor_file(file: Path, name: bytes = b"t", sizes: tuple[int, ...] = (32,), kind: int = 0, number: int = 1) -> Path:
    table = struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, 0)
    content = b"GGUF" + struct.pack("<IQQ", 3, number, 0) + table * number
    file.write_bytes(content + b"\0" * 4096)
    return file


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": 99}, "tensor t is of a type that cannot be read: 99"),
        ({"kind": 26}, "tensor t is of a type that cannot be read: Dequantization for I32"),
        ({"sizes": ()}, "tensor t has 0 dimensions"),
        ({"sizes": (1,) * 5}, "tensor t has 5 dimensions"),
        ({"sizes": (0,)}, "tensor t of sizes"),
        ({"sizes": (33,), "kind": 2}, r"tensor t of sizes \(33,\) in blocks of 32"),
        ({"number": 2}, "tensors of the same name"),
        ({"name": b"\xff\xfe"}, "not UTF-8"),
        ({"sizes": (2**40,)}, "truncated"),
    ],
)
def test_wrong_tensors(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    assert gguf_file.read(tensor_file(tmp_path / "good.gguf")).tensors["t"].shape == (32,)
    with pytest.raises(ModelError, match=why):
        gguf_file.read(tensor_file(tmp_path / "wrong.gguf", **changes))


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("split.count", 3, "it is one of 3 parts of a model"),
        ("general.alignment", 0, "multiples of 0"),
        ("general.alignment", "x", "multiples of x"),
    ],
)
def test_wrong_metadata(tmp_path: Path, key: str, value: Any, why: str) -> None:
    writer = GGUFWriter(tmp_path / "wrong.gguf", "none")
    tiny.add(writer, key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match=why) as error:
        gguf_file.read(tmp_path / "wrong.gguf")
    assert ("llama-gguf-split --merge" in str(error.value)) == (key == "split.count")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        gguf_file.read(tmp_path / "nothing.gguf")
