"""Ranges of objects by plain HTTP, from the socket straight into the memory where they are wanted.

The stores' own clients pass what comes through buffers of theirs and wake us for each piece, which costs as much again as to
receive it. Here the kernel fills all of the memory in one call. Nothing counts but the very answer that was hoped for: after any
other, or none, the caller asks as it always can, by a client that logs in, follows, tries again and explains.
"""

import socket
import struct
import time
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from chrek_agent.store.patience import Patience

LEAST: Final = 256 << 10
"""Fewer bytes at once are not worth it."""
REST: Final = 60.0
"""Seconds for which it is not tried again where it did not work."""

_WORTH_WAKING: Final = 512 << 10
"""So many bytes have to be there before the kernel wakes us: each time costs us and the server a turn on a processor."""
_HEAD: Final = 16 << 10
_END: Final = b"\r\n\r\n"
_IDLE: Final = 16


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer says before its content; names of fields are in lower case."""

    status: int
    fields: Mapping[str, str]

    def is_range(self, offset: int, length: int) -> bool:
        """The content is these bytes, as they are."""
        if self.status != 206 or {"transfer-encoding", "content-encoding"} & self.fields.keys():
            return False
        begins = self.fields.get("content-range", "").startswith(f"bytes {offset}-{offset + length - 1}/")
        return begins and self.fields.get("content-length") == str(length)

    @property
    def stays_open(self) -> bool:
        """The connection is good for another request."""
        return self.fields.get("connection", "").lower() != "close"


def parse_head(head: bytes) -> Head:
    """Pure. Raises ValueError for what is no answer of HTTP/1.1."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = [*first.split(" "), ""]
    if version != "HTTP/1.1":
        raise ValueError(first)
    fields = (line.partition(":") for line in lines)
    return Head(int(status), {name.lower(): value.strip() for name, _, value in fields})


class Straight:
    """Connections to one server, kept open. Any thread may use it."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._idle: list[socket.socket] = []
        self._rests_until = 0.0
        weakref.finalize(self, _close, self._idle)

    def read_into(self, url: str, headers: Mapping[str, str], offset: int, into: memoryview) -> bool:
        """Whether `into` is now full of what is at the URL from `offset` on; if not, anything may be in it."""
        if len(into) < LEAST or not url.startswith("http://") or time.monotonic() < self._rests_until:
            return False
        try:
            status = self._ask(url, headers, offset, into)
        except (OSError, ValueError):
            status = 0
        if status not in (206, 401):  # Whoever has logged in may try again at once.
            self._rests_until = time.monotonic() + REST
        return status == 206

    def _ask(self, url: str, headers: Mapping[str, str], offset: int, into: memoryview) -> int:
        """The status, 0 in place of 206 where it was not that range. Raises OSError and ValueError."""
        with ExitStack() as stack:
            connection = stack.enter_context(self._kept() or _connect(url, self._patience))
            connection.sendall(_request(url, {**headers, "Range": f"bytes={offset}-{offset + len(into) - 1}"}))
            head, begun = _receive_head(connection)
            if not head.is_range(offset, len(into)):
                return 0 if head.status == 206 else head.status
            _fill(connection, begun, into)
            if head.stays_open and len(self._idle) < _IDLE:
                stack.pop_all()
                self._idle.append(connection)
            return head.status

    def _kept(self) -> socket.socket | None:
        """A connection that the server has not closed meanwhile."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            try:
                connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return connection
            except OSError:
                pass
            connection.close()  # It has ended, or says what nobody asked for.


def _connect(url: str, patience: Patience) -> socket.socket:
    """Blocks in the kernel: a socket of Python's with a time limit would wake us for each piece."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80), patience.connect)
    connection.settimeout(None)
    limit = struct.pack("ll", int(patience.request), int(patience.request % 1 * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, limit)
    return connection


def _request(url: str, headers: Mapping[str, str]) -> bytes:
    """Raises ValueError for what would be more than one request."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in {"Host": parts.netloc, **headers}.items())]
    if not all(map(str.isprintable, lines)):
        raise ValueError("a header cannot be sent")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _receive_head(connection: socket.socket) -> tuple[Head, bytes]:
    """And what came of the content with it."""
    received = b""
    while (end := received.find(_END)) < 0:
        piece = connection.recv(_HEAD)
        if not piece or len(received) > _HEAD:
            raise ConnectionError
        received += piece
    return parse_head(received[:end]), received[end + len(_END) :]


def _fill(connection: socket.socket, begun: bytes, into: memoryview) -> None:
    """The bulk of it with few wakings; the end as it comes, of which there may be less than is worth one. Raises OSError."""
    into[: len(begun)] = begun
    bulk = max(len(begun), len(into) - 2 * _WORTH_WAKING)
    for least, part in ((_WORTH_WAKING, into[len(begun) : bulk]), (1, into[bulk:])):
        if part:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
            if connection.recv_into(part, 0, socket.MSG_WAITALL) < len(part):
                raise ConnectionError


def _close(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()
