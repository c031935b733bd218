"""A small Hugging Face Hub on localhost: as much of its HTTP as huggingface_hub needs to fetch a snapshot.

It serves folders below ``root`` (``root/owner/name/...``), each as one commit with branch ``main`` and tag ``v1``, and
writes down every request, so that a test can say what was asked and what was not.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

GATED = "gated/model"
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/(?P<kind>revision|tree)/(?P<revision>[^/?]+))?")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


def commit_of(folder: Path) -> str:
    """The commit hash under which the stub serves a folder: it changes with any file."""
    digest = hashlib.sha1()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


class HubStub(ThreadingHTTPServer):
    """The server; ``requests`` lists what was asked as ``METHOD /path``."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.requests: list[str] = []

    @property
    def endpoint(self) -> str:
        """What ``HF_ENDPOINT`` is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files_sent(self) -> set[str]:
        """Names of the files whose content was fetched."""
        return {match["file"] for line in self.requests if line.startswith("GET") and (match := _FILE.search(line))}


@contextmanager
def serve(root: Path) -> Iterator[HubStub]:
    """Serve the folders below ``root`` until the block ends."""
    server = HubStub(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubStub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Requests are kept in a list instead."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if match := _FILE.fullmatch(path):
            self._in_repo(match["repo"], match["revision"], lambda folder: self._file(folder, match["file"]))
        elif match := _API.fullmatch(path):
            tree = match["kind"] == "tree"
            revision = match["revision"] or "main"
            self._in_repo(match["repo"], revision, lambda f: self._tree(f) if tree else self._info(match["repo"], f))
        else:
            self._send(404, b"{}")

    def _in_repo(self, repo: str, revision: str, answer: Any) -> None:
        folder = self.server.root / repo
        if repo == GATED:
            self._error(403, "GatedRepo")
        elif not folder.is_dir():
            self._error(401, "RepoNotFound")  # as the real one answers without a token
        elif revision not in ("main", "v1", commit_of(folder)):
            self._error(404, "RevisionNotFound")
        else:
            answer(folder)

    def _info(self, repo: str, folder: Path) -> None:
        siblings = [{"rfilename": name} for name in self._files(folder)]
        self._json({"id": repo, "sha": commit_of(folder), "siblings": siblings, "private": False, "tags": []})

    def _tree(self, folder: Path) -> None:
        self._json([self._tree_entry(folder / name, name) for name in self._files(folder)])

    def _tree_entry(self, file: Path, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "type": "file",
            "path": name,
            "size": file.stat().st_size,
            "oid": self._etag(file)[:40],
        }
        if name.endswith(".safetensors"):
            entry["lfs"] = {"oid": self._etag(file), "size": file.stat().st_size, "pointerSize": 134}
        return entry

    def _file(self, folder: Path, name: str) -> None:
        file = folder / name
        if not file.is_file():
            self._error(404, "EntryNotFound")
            return
        headers = {"X-Repo-Commit": commit_of(folder), "ETag": f'"{self._etag(file)}"', "Accept-Ranges": "bytes"}
        self._send(200, file.read_bytes(), {**headers, "Content-Type": "application/octet-stream"})

    @staticmethod
    def _etag(file: Path) -> str:
        return hashlib.sha256(file.read_bytes()).hexdigest()

    @staticmethod
    def _files(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
