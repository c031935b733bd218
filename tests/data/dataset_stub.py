"""A Hugging Face Hub for data sets on localhost: as much of its HTTP as ``datasets`` needs to load one. One commit."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

NAME, COMMIT = "owner/tickets", "c" * 40
_API = re.compile(rf"/api/datasets/{NAME}(/(?P<kind>revision|tree|paths-info)/(?P<revision>[^/]+)(?P<rest>/.*)?)?")
_FILE = re.compile(rf"/datasets/{NAME}/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[str]:
    """Serve the files as ``NAME``, branch ``main``; gives the endpoint."""

    class Handler(_Handler):
        contents = files

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    contents: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._json([self._entry(name) for name in self.contents if name in unquote(asked)])

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if (match := _FILE.fullmatch(path)) and match["file"] in self.contents:
            content = self.contents[match["file"]]
            self._send(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})
        elif _FILE.fullmatch(path):
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        elif match := _API.fullmatch(path):
            self._api(match["kind"], match["revision"] or "main", (match["rest"] or "").strip("/"))
        else:
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _api(self, kind: str | None, revision: str, rest: str) -> None:
        if revision not in ("main", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif kind == "tree":
            self._json([self._entry(name) for name in self.contents if name.startswith(rest)])
        else:
            siblings = [{"rfilename": name} for name in self.contents]
            self._json({"id": NAME, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})

    def _entry(self, name: str) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(self.contents[name]), "oid": "a" * 40}

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
