"""An endpoint that speaks OpenAI's HTTP on this machine, with answers that a test sets. Knows no test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What is sent: a status, a body (JSON, or text or bytes as they are), or the events of a stream."""

    status: int = 200
    body: Any = None
    events: list[Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    breaks_off: bool = False
    """Whether the connection is cut before the stream has ended."""


@dataclass
class Asked:
    """One request as it came."""

    path: str
    body: dict[str, Any]
    key: str | None


@dataclass
class Stub:
    """A server's address and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that has hung up is what some tests are about."""


@contextmanager
def serving(answer: Callable[[int, Asked], Reply], port: int = 0) -> Iterator[Stub]:
    """A running server, on any free port or on this; ``answer`` gets the number of the request and the request."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Asked(self.path, body, self.headers.get("Authorization"))
            with lock:
                number = len(stub.asked)
                stub.asked.append(asked)
            self._send(answer(number, asked))

        def _send(self, reply: Reply) -> None:
            lines = [f"data: {json.dumps(event)}\n\n" for event in reply.events or []]
            if reply.events is not None and not reply.breaks_off:
                lines.append("data: [DONE]\n\n")
            text = "".join(lines) if reply.events is not None else reply.body
            data = text if isinstance(text, bytes) else (text if isinstance(text, str) else json.dumps(text)).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data) + (100 if reply.breaks_off else 0)))
            self.end_headers()
            self.wfile.write(data)
            if reply.breaks_off:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = _Server(("127.0.0.1", port), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat(*texts: str, reason: str = "stop", tokens: int = 7) -> Reply:
    """A whole chat reply."""
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        for index, text in enumerate(texts)
    ]
    return Reply(body={"choices": choices, "usage": {"prompt_tokens": tokens}})


def completion(*texts: str) -> Reply:
    """A whole completion reply."""
    choices = [{"index": index, "text": text, "finish_reason": "length"} for index, text in enumerate(texts)]
    return Reply(body={"choices": choices})


def delta(text: str | None, index: int = 0, reason: str | None = None) -> dict[str, Any]:
    """One event of a chat's stream."""
    inner = {} if text is None else {"content": text}
    return {"choices": [{"index": index, "delta": inner, "finish_reason": reason}]}
