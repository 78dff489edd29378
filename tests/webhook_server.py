"""A webhook receiver on loopback that keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "T000-B000-secret"


class Posts(ThreadingHTTPServer):
    """Keeps what is POSTed; answers with `statuses` in turn, then with the last for ever."""

    def __init__(self, statuses: list[int], answer: bytes = b"{}", wait_s: float = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses, self.answer = statuses, answer
        self.hurry = threading.Event()
        self.wait_s = wait_s
        self.received: list[tuple[str, dict[str, str], bytes]] = []

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what some tests want."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hooks/{SECRET}?key=also-{SECRET}"


class _Handler(BaseHTTPRequestHandler):
    server: Posts

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, dict(self.headers), body))
        self.server.hurry.wait(self.server.wait_s)
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        if statuses[0] in (301, 302):
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def posts(*statuses: int, answer: bytes = b"{}", wait_s: float = 0) -> Iterator[Posts]:
    server = Posts(list(statuses), answer, wait_s)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.hurry.set()
        server.shutdown()
        server.server_close()
        thread.join()
