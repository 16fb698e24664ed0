"""One connection of a worker's at `apart.sock`: JSON behind its length, with descriptors (the worker's side is chrek_worker.apart).

The worker is not trusted: whatever it says is bounded, and what it is called is what the kernel says of it.
"""

import array
import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from chrek_agent.container import processes
from chrek_agent.errors import AgentError

SOCKET: Final = "apart.sock"
BATCH: Final = 200
"""Descriptors in one message; the kernel passes 253 at most."""
_LENGTH: Final = struct.Struct(">I")
_LIMIT: Final = 2 << 20
_PEER: Final = struct.Struct("3i")
_RECEIVED: Final = 4
"""Descriptors that a worker may send at once; the kernel closes what is more."""


class ApartError(AgentError):
    """The worker asks for what cannot be; it is told so."""


class Gone(Exception):  # noqa: N818 - it is no error: whoever talks may stop
    """The connection has ended."""


class Peer:
    """One connection; `owner` is the worker's PID in its container. For one thread."""

    def __init__(self, connection: socket.socket, init: int) -> None:
        self._socket = connection
        pid, _, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        process = processes.read_process(pid) if pid > 0 else None
        if process is None or not _same_namespace(pid, init):
            raise ApartError("only the worker's own processes are served")
        self.owner = process.inner

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next message and its descriptors, which are the caller's to close.

        Raises:
            Gone: There is none.
            ApartError: It is none of ours.
        """
        descriptors: list[int] = []
        try:
            (length,) = _LENGTH.unpack(self._read(_LENGTH.size, descriptors))
            if length > _LIMIT:
                raise ApartError("the message is too long")
            return _parsed(self._read(length, descriptors)), descriptors
        except BaseException:
            close_all(descriptors)
            raise

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Answers; more than BATCH descriptors are too many. Raises Gone."""
        content = json.dumps(message, separators=(",", ":")).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([_LENGTH.pack(len(content))], rights)
            self._socket.sendall(content)
        except OSError as error:
            raise Gone from error

    def _read(self, length: int, descriptors: list[int]) -> bytes:
        found = bytearray()
        while len(found) < length:
            try:
                piece, rights, _, _ = self._socket.recvmsg(
                    length - len(found), socket.CMSG_SPACE(_RECEIVED * 4), socket.MSG_CMSG_CLOEXEC
                )
            except OSError as error:
                raise Gone from error
            for level, kind, data in rights:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors += array.array("i", data[: len(data) - len(data) % 4]).tolist()
            if not piece:
                raise Gone
            if len(descriptors) > _RECEIVED:
                raise ApartError("too many descriptors")
            found += piece
        return bytes(found)


def close_all(descriptors: list[int]) -> None:
    """Closes them."""
    while descriptors:
        with suppress(OSError):
            os.close(descriptors.pop())


def number(message: Mapping[str, Any], name: str) -> int:
    """A field that is a number, not negative. Raises ApartError."""
    value = message.get(name)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ApartError(f"{name} is no number")
    return value


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        message = json.loads(content)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ApartError("the message is no JSON object")
    return message


def _same_namespace(pid: int, init: int) -> bool:
    try:
        return (processes.PROC / str(pid) / "ns" / "pid").readlink() == (processes.PROC / str(init) / "ns" / "pid").readlink()
    except OSError:
        return False
