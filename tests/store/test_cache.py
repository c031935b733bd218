"""Folders of the cache appear whole or not at all, and are made once."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from feinschliff.errors import ResourceError
from feinschliff.store.cache import STAGING, made_once


def test_made_once_by_many_at_the_same_time(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "a").write_text("1")

    threads = [threading.Thread(target=made_once, args=(tmp_path / "x" / "target", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (tmp_path / "x" / "target" / "a").read_text() == "1"


def test_what_fails_is_not_there_and_can_be_made_again(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        (folder / "half").write_text("1")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ResourceError, match="no space left on the disk of the cache"):
        made_once(tmp_path / "target", full)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert made_once(tmp_path / "target", lambda folder: None).is_dir()


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"{STAGING}killed").mkdir()
    made_once(tmp_path / "target", lambda folder: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "target"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be used"):
        made_once(tmp_path / "file" / "target", lambda folder: None)
