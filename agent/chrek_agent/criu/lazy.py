"""What CRIU hands over when it restores with `--lazy-pages`: for each process a descriptor by which its memory can be filled late.

CRIU connects to a socket in its working directory and sends the number of a process, then its userfaultfd, for each; a zombie's
number is negative and comes alone. At the end it sends a word that is no number of a process.
"""

import array
import os
import socket
import struct
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

SOCKET: Final = "lazy-pages.socket"
_FINISHED: Final = 0x52535446
_WORD: Final = struct.Struct("=i")


class LazyPages:
    """Takes what CRIU hands over; to be entered before CRIU starts, and left when its descriptors are not needed any more."""

    def __init__(self, work: Path) -> None:
        """Listens in CRIU's working directory. Raises OSError."""
        self.descriptors: dict[int, int] = {}
        """PID inside the container -> its userfaultfd."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        directory = os.open(work, os.O_PATH | os.O_CLOEXEC)
        try:
            with suppress(FileNotFoundError):
                (work / SOCKET).unlink()
            # The path itself may be longer than a socket's address.
            self._socket.bind(f"/proc/self/fd/{directory}/{SOCKET}")
            self._socket.listen(1)
        except OSError:
            self._socket.close()
            raise
        finally:
            os.close(directory)
        self._thread = threading.Thread(target=self._serve, name="lazy-pages", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.settle()
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors.clear()

    def settle(self) -> dict[int, int]:
        """After CRIU's end: all that it has handed over."""
        with suppress(OSError):  # Wakes a thread that CRIU never connected to.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        return self.descriptors

    def _serve(self) -> None:
        with suppress(OSError), ExitStack() as stack:
            connection = stack.enter_context(self._socket.accept()[0])
            while True:
                word = connection.recv(_WORD.size, socket.MSG_WAITALL)
                if len(word) < _WORD.size:
                    return
                (inner,) = _WORD.unpack(word)
                if inner == _FINISHED:
                    return
                if inner > 0:
                    self._take(connection, inner)

    def _take(self, connection: socket.socket, inner: int) -> None:
        _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found = array.array("i", data)
                self.descriptors[inner] = found[0]
