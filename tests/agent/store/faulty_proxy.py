"""A proxy on loopback that goes wrong as a test plans it."""

import socket
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any

from chrek_agent.store.patience import Patience

PATIENCE = Patience(retries=4, total=20, connect=2, request=5, pause=0.01)
"""Of clients behind it."""
_HOP = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive"})


@dataclass
class Fault:
    """What a proxy does to one request.

    `answer`: that status with `body`, not asking the server; `lose`: asks it and says nothing; `drop`: does neither; `cut`: half of
    the answer's body; `stall`: the same, and then silence; `short`: half of it as if that were all; `flip`: one bit wrong; `hang`:
    nothing until the proxy ends. What is sent is cut by `break`: half of it reaches the server; and by `swallow`: nothing does, as
    with a proxy that passes on whole requests only.
    """

    kind: str
    status: int = 503
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Proxy(ThreadingHTTPServer):
    """Between a client and a server; `plan` says for each request (method, path, headers) what goes wrong with it."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.plan: Callable[[str, str, Any], Fault | None] = lambda *_: None
        self.requests: list[str] = []
        self.received = 0
        """Bytes of all requests' bodies."""
        self.ended = Event()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def first(self, number: int, fault: Fault, *, of: str = "") -> None:
        """Of each request (of a method, if it is named) the first tries go wrong."""
        tries: dict[str, int] = {}

        def plan(method: str, path: str, _: Any) -> Fault | None:
            key = f"{method} {path.partition('?')[0].partition('/uploads/')[0]}"
            tries[key] = tries.get(key, 0) + 1
            return fault if of in ("", method) and tries[key] <= number else None

        self.plan = plan

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Or what is small waits for its reader's acknowledgements.
    server: Proxy

    def _pass(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        fault = self.server.plan(self.command, self.path, self.headers)
        kind = fault.kind if fault else ""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length // 2 if kind in ("break", "swallow") else length)
        self.server.received += len(body)
        if fault is not None and kind == "answer":
            self._answer(fault.status, fault.headers, fault.body)
        elif kind == "hang":
            self.server.ended.wait()
        elif kind == "break":
            self._break(body)
        if kind in ("drop", "hang", "break", "swallow"):
            self.close_connection = True
        if kind in ("drop", "hang", "answer", "break", "swallow"):
            return
        with closing(self._ask(body)) as connection:
            answer = connection.getresponse()
            content = answer.read()
        if kind == "lose":
            self.close_connection = True
            return
        if kind == "flip" and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if kind == "short":
            content = content[: len(content) // 2]
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
        self._answer(answer.status, headers, content, cut=kind in ("cut", "stall"), length=answer.getheader("Content-Length"))
        if kind == "stall":
            self.server.ended.wait()

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _pass  # noqa: N815 - the base class finds them by these names

    def _ask(self, body: bytes) -> HTTPConnection:
        connection = HTTPConnection(self.server.upstream, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        with suppress(ConnectionError):  # A server that refuses does not always read on.
            connection.endheaders(body)
        return connection

    def _break(self, body: bytes) -> None:
        """Returns when the server has noticed."""
        with closing(self._ask(body)) as connection:
            connection.sock.shutdown(socket.SHUT_WR)
            while connection.sock.recv(65536):
                pass

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length or "0" if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True
