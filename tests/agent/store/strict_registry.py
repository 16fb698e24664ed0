"""A registry in memory that takes blobs in chunks by the letter of the OCI distribution specification, or in a way of its own."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Manners:
    """How it behaves."""

    status: int = 204
    """What it answers to the question where an upload stands."""
    tells: bool = True
    """Says so in that answer."""
    lies: int = 0
    """So many times it says that an upload stands at its beginning."""
    chunks: int = 202
    """What it answers to a chunk; takes none if that is no success."""
    least: int = 0
    damaged: int = 0
    """So many contents have one bit wrong when they are here."""


@dataclass
class Content:
    """What it has, and what it was asked."""

    uploads: dict[str, bytearray] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, int]] = field(default_factory=list)
    """Methods, and how many bytes of a body came."""

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.requests)


class StrictRegistry(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.manners = Manners()
        self.content = Content()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is cut off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Or what is small waits for its reader's acknowledgements.
    server: StrictRegistry

    def do_POST(self) -> None:
        self._note(0)
        name = secrets.token_hex(8)
        self.server.content.uploads[name] = bytearray()
        least = self.server.manners.least
        self._answer(202, {"Location": self._place(name)} | ({"OCI-Chunk-Min-Length": str(least)} if least else {}))

    def do_PATCH(self) -> None:
        name, upload = self._upload()
        manners = self.server.manners
        asked = re.fullmatch(r"(\d+)-(\d+)", self.headers["Content-Range"])
        assert asked is not None
        length = int(self.headers["Content-Length"])
        if manners.chunks >= 300 or int(asked[1]) != len(upload) or int(asked[2]) - int(asked[1]) + 1 != length:
            self._note(len(self.rfile.read(length)))
            self._answer(manners.chunks if manners.chunks >= 300 else 416, {})
        elif self._receive(upload):
            self._answer(manners.chunks, {"Location": self._place(name), "Range": f"0-{len(upload) - 1}"})

    def do_GET(self) -> None:
        self._note(0)
        manners, (name, upload) = self.server.manners, self._upload()
        stands = 0 if manners.lies else len(upload)
        manners.lies = max(0, manners.lies - 1)
        told = {"Location": self._place(name), "Range": f"0-{max(0, stands - 1)}"}
        self._answer(manners.status, told if manners.tells and manners.status < 300 else {})

    def do_PUT(self) -> None:
        name, upload = self._upload()
        if not self._receive(upload):
            return
        digest = self.path.partition("digest=")[2]
        content = bytes(self.server.content.uploads.pop(name))
        right = digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
        if right:
            self.server.content.blobs[digest] = content
        self._answer(201 if right else 400, {})

    def do_HEAD(self) -> None:
        self._note(0)
        self._answer(200 if self.path.rpartition("/")[2] in self.server.content.blobs else 404, {})

    def _upload(self) -> tuple[str, bytearray]:
        name = self.path.partition("?")[0].rpartition("/")[2]
        return name, self.server.content.uploads.get(name, bytearray())

    def _receive(self, upload: bytearray) -> bool:
        """Keeps what comes; False where that breaks off."""
        length, before = int(self.headers["Content-Length"]), len(upload)
        while len(upload) - before < length and (piece := self.rfile.read1(length - len(upload) + before)):
            upload += piece
        self._note(len(upload) - before)
        if self.server.manners.damaged and len(upload) > before:
            self.server.manners.damaged -= 1
            upload[-1] ^= 1
        self.close_connection = len(upload) - before < length
        return not self.close_connection

    def _note(self, received: int) -> None:
        self.server.content.requests.append((self.command, received))

    def _place(self, name: str) -> str:
        return f"/v2/a/b/blobs/uploads/{name}?part={secrets.token_hex(2)}"

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()
