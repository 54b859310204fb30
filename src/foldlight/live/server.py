"""The page of a scan that runs: loopback only, read only, nothing from elsewhere."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import parse_qs, urlsplit

from foldlight.core.errors import SettingsError
from foldlight.live.board import Board

__all__ = ["HOST", "serve"]

HOST = "127.0.0.1"

_NAMES = {HOST, "localhost"}  # by which a browser may ask: others come from names that were made to point here
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_PICTURES = {"/amplitude.png": "amplitude", "/phase.png": "phase"}
_POLL_S = 1.0  # that a question for news is held back when there are none
_IDLE_S = 15.0  # after which a connection that asks nothing is closed
_CONNECTIONS = 32
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@contextmanager
def serve(board: Board, port: int = 0) -> Iterator[str]:
    """Serve a board's page from threads of its own until the block ends; yields the page's address.

    Everyone who is logged in on this machine can see it, nobody else.

    Args:
        board: what to show.
        port: on the loopback address; any free one when 0.

    Raises:
        SettingsError: the port is taken or not allowed.
    """
    try:
        server = _Server(board, port)
    except OSError as error:
        raise SettingsError(f"port = {port}: expected a free port, got {error.strerror}; take another, or 0") from None
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    """A few threads, each with one connection to this machine."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, board: Board, port: int) -> None:
        self.board = board
        self._free = threading.Semaphore(_CONNECTIONS)
        self._open: set[socket] = set()
        super().__init__((HOST, port), _Handler)

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        assert isinstance(request, socket)  # noqa: S101  (a pair is what datagrams come as)
        self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)
            self._free.release()

    def server_close(self) -> None:
        """Hang up on those who are still connected, too."""
        super().server_close()
        for each in tuple(self._open):
            with suppress(OSError):
                each.shutdown(SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away in the middle of an answer is no news."""


class _Handler(BaseHTTPRequestHandler):
    """Answers GET; anything else is refused."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "foldlight"
    sys_version = ""
    timeout = _IDLE_S
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """A file of the page, a picture, or how things stand."""
        asked = urlsplit(self.path)
        if (self.headers.get("Host") or "").rpartition("]")[2].partition(":")[0] not in _NAMES:
            self._answer(403, b"expected to be asked as 127.0.0.1 or localhost\n", "text/plain")
        elif asked.path == "/state.json":
            self.server.board.wait(_number(asked.query, "after"), _POLL_S)
            self._answer(200, json.dumps(self.server.board.plain(), allow_nan=False).encode(), "application/json")
        elif asked.path in _PICTURES:
            found = self.server.board.picture(_PICTURES[asked.path])
            if found is None:
                self._answer(404, b"no image yet\n", "text/plain")
            else:
                self._answer(200, found[1], "image/png", version=found[0])
        elif asked.path in _FILES:
            name, kind = _FILES[asked.path]
            self._answer(200, resources.files("foldlight.live").joinpath("templates", name).read_bytes(), kind)
        else:
            self._answer(404, b"not found\n", "text/plain")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self.close_connection = True  # a body may follow, and is not read
        self._answer(405, b"expected GET\n", "text/plain")

    def _answer(self, code: int, body: bytes, kind: str, version: int | None = None) -> None:
        self.send_response(code)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if code == 405:
            self.send_header("Allow", "GET")
        if version is not None:
            self.send_header("Foldlight-Version", str(version))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002
        """Requests are not printed."""


def _number(query: str, name: str) -> int:
    """A whole number from a query; -1 where there is none."""
    found = parse_qs(query).get(name, ["-1"])[0]
    return int(found) if found.isascii() and found.removeprefix("-").isdigit() and len(found) < 19 else -1
