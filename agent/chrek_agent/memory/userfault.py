"""Memory that is written while its process runs: the kernel holds up whoever touches a page that is not there yet.

See userfaultfd(2). Calls have the numbers and structures of the kernel's <linux/userfaultfd.h>.
"""

import ctypes
import errno
import fcntl
import os
import select
import struct
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

from chrek_agent.store.chunking import PAGE, Extent

_UNREGISTER: Final = 0x8010AA01
_COPY: Final = 0xC028AA03
_ZEROPAGE: Final = 0xC020AA04
_RANGE: Final = struct.Struct("QQ")
_MESSAGE: Final = struct.Struct("B7xQQQ")
_HARMFUL: Final = {0x13: "forked", 0x14: "moved memory", 0x15: "gave memory up"}
"""Events after which what still comes would be missing in one place, or be wrong in another."""
_FORK: Final = 0x13
_PIDFD_GETFD: Final = 438
_SYSCALL: Final = 323
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
# The mapping changes just now; the page is there already; its mapping is gone.
_AGAIN, _THERE, _GONE = errno.EAGAIN, errno.EEXIST, errno.ENOENT


class _Copy(ctypes.Structure):
    _fields_ = (*tuple((name, ctypes.c_uint64) for name in ("to", "source", "length", "mode")), ("done", ctypes.c_int64))


class _Zero(ctypes.Structure):
    _fields_ = (*tuple((name, ctypes.c_uint64) for name in ("to", "length", "mode")), ("done", ctypes.c_int64))


class Userfault:
    """One process's memory by its userfaultfd, which whoever made this keeps open; any thread may use it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def put(self, address: int, length: int, extents: Sequence[Extent], dense: memoryview) -> None:
        """Puts a chunk there: its extents from `dense`, zeros between them. Raises OSError."""
        position = used = 0
        for start, count in extents:
            self.zero(address + position, start - position)
            self.copy(address + start, dense[used : used + count])
            position, used = start + count, used + count
        self.zero(address + position, length - position)

    def copy(self, address: int, content: memoryview) -> None:
        """Puts whole pages there and wakes who waits for them; `content` must be writable memory itself. Raises OSError.

        Pages that are there stay as they are; a mapping that the process has given up meanwhile needs none.
        """
        base = ctypes.addressof(ctypes.c_char.from_buffer(content))
        self._whole(_COPY, len(content), lambda done: _Copy(address + done, base + done, len(content) - done, 0, 0))

    def zero(self, address: int, length: int) -> None:
        """Makes pages of zeros, likewise."""
        self._whole(_ZEROPAGE, length, lambda done: _Zero(address + done, length - done, 0, 0))

    def release(self, start: int, length: int) -> None:
        """Nobody is held up there any more: what is missing is zero from now on. Raises OSError."""
        fcntl.ioctl(self.descriptor, _UNREGISTER, _RANGE.pack(start, length))

    def _whole(self, request: int, length: int, make: "Callable[[int], _Copy | _Zero]") -> None:
        done = 0
        while done < length:
            asked = make(done)
            if _LIBC.ioctl(self.descriptor, ctypes.c_ulong(request), ctypes.byref(asked)) == 0:
                return
            code = ctypes.get_errno()
            done += max(asked.done, 0)
            if code == _THERE:
                done += PAGE if asked.done <= 0 else 0
            elif code == _GONE:
                return
            elif code != _AGAIN:
                raise OSError(code, f"memory that comes late: {os.strerror(code)}")


class Events:
    """Reads what the kernel tells of processes with a userfaultfd while it is open: some of it holds them up until it is read."""

    def __init__(self, descriptors: Collection[int]) -> None:
        self.harm = ""
        """What one of them did that must not have happened before all of its memory was there; empty: nothing."""
        self._end, self._tell = os.pipe2(os.O_CLOEXEC)
        self._descriptors = list(descriptors)
        self._thread = threading.Thread(target=self._read, name="userfault", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        os.close(self._tell)
        self._thread.join()
        os.close(self._end)

    def _read(self) -> None:
        poll = select.poll()
        for descriptor in (*self._descriptors, self._end):
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, happened in poll.poll():
                if descriptor == self._end:
                    return
                if not happened & select.POLLIN:  # Its process has ended.
                    poll.unregister(descriptor)
                    continue
                with suppress(OSError):
                    self._note(os.read(descriptor, _MESSAGE.size))

    def _note(self, message: bytes) -> None:
        event, first, *_ = _MESSAGE.unpack(message)
        self.harm = self.harm or _HARMFUL.get(event, "")
        if event == _FORK:
            os.close(first & 0xFFFFFFFF)


def is_supported() -> bool:
    """Whether this kernel lets us hold up processes in their system calls too."""
    descriptor = _LIBC.syscall(_SYSCALL, os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


def borrow(pid: int, descriptor: int) -> int:
    """A copy of another process's descriptor. Raises OSError."""
    pidfd = os.pidfd_open(pid)
    try:
        copy: int = _LIBC.syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"descriptor {descriptor} of process {pid}: {os.strerror(code)}")
    return copy
