"""What worker and agent say to each other over `apart.sock`: JSON behind its length, with descriptors; docs/worker-contract.md."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

from chrek_worker.apart.slot import SharedSlot, Slot

SOCKET = "apart.sock"
SECONDS = 300.0
"""For an answer: a store may be slow, and all is verified before it is handed over."""
_LENGTH = struct.Struct(">I")
_DESCRIPTORS = 200
_LIMIT = 64 << 20


class ApartError(OSError):
    """What is apart could not be saved or had again; the words are the reason."""


class Channel:
    """A connection to the agent. Raises ApartError; leaving it closes it."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(SECONDS)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise ApartError(f"no agent answers at {path}: {error.strerror or error}") from error

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Says something, with descriptors, and returns the answer."""
        content = json.dumps(message).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([_LENGTH.pack(len(content))], rights)
            self._socket.sendall(content)
            return self.hear()[0]
        except OSError as error:
            raise error if isinstance(error, ApartError) else ApartError(f"the agent: {error}") from error

    def share(self, slot: Slot) -> None:
        """From now on content goes through this slot, which must be a shared one."""
        if isinstance(slot, SharedSlot):
            self.ask({"do": "slot"}, [slot.descriptor])

    def hear(self) -> tuple[dict[str, Any], list[int]]:
        """The next message, and descriptors that came with it."""
        head, descriptors = b"", list[int]()
        while len(head) < _LENGTH.size:
            piece, rights, _, _ = self._socket.recvmsg(
                _LENGTH.size - len(head), socket.CMSG_SPACE(_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC
            )
            descriptors += _received(rights)
            if not piece:
                raise ApartError("the agent has gone")
            head += piece
        (length,) = _LENGTH.unpack(head)
        if length > _LIMIT:
            raise ApartError("the agent's answer is too long")
        message = json.loads(self._receive(length))
        if "error" in message:
            _close(descriptors)
            raise ApartError(str(message["error"]))
        return message, descriptors

    def _receive(self, length: int) -> bytes:
        content = bytearray(length)
        view = memoryview(content)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise ApartError("the agent has gone")
            view = view[count:]
        return bytes(content)


def _received(rights: Sequence[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found.tolist()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
