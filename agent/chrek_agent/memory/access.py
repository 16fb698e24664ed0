"""Reading and writing another process's memory at full speed, with no doubt about whose it is."""

import ctypes
import errno
import os
import select
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from chrek_agent.container import processes

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_MOST_VECTORS: Final = 1024
# The kernel says so where protections stand in the way; /proc/PID/mem passes those, as a debugger does.
_REFUSED: Final = frozenset({errno.EFAULT, errno.EPERM})

Extent = tuple[int, int]
"""Address and length in bytes."""


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


for _call in (_LIBC.process_vm_readv, _LIBC.process_vm_writev):
    _vectors = ctypes.POINTER(_Vector)
    _call.argtypes = [ctypes.c_int, _vectors, ctypes.c_ulong, _vectors, ctypes.c_ulong, ctypes.c_ulong]
    _call.restype = ctypes.c_ssize_t


class ProcessMemory:
    """One process's memory, from its opening to `close`; any thread may use it.

    `/proc/PID/mem` stays with the process that it was opened for. The calls that take a PID are made only while the pidfd of that
    process says that it lives, before and after, so that no process that follows under the same number is touched unnoticed.
    """

    def __init__(self, process: processes.Process) -> None:
        """Opens it; raises OSError, ProcessLookupError when it is not the process meant any more."""
        self.process = process
        self.forced = 0
        """Bytes that needed /proc/PID/mem."""
        self._pidfd = os.pidfd_open(process.pid)
        try:
            self._mem = os.open(f"/proc/{process.pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            os.close(self._pidfd)
            raise
        if not processes.is_same(process.pid, process.start):
            self.close()
            raise ProcessLookupError(errno.ESRCH, f"process {process.pid} is gone")

    def close(self) -> None:
        """Lets it go."""
        os.close(self._mem)
        os.close(self._pidfd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def read(self, address: int, into: memoryview) -> None:
        """Fills `into`, which must be writable. Raises OSError."""
        self._alive()
        done = _transfer(_LIBC.process_vm_readv, self.process.pid, into, [(address, len(into))])
        while done < len(into):
            count = os.preadv(self._mem, [into[done:]], address + done)
            if count == 0:
                raise OSError(errno.ESRCH, f"process {self.process.pid} has no memory any more")
            done += count
        self._alive()

    def write(self, extents: Sequence[Extent], content: memoryview) -> None:
        """Writes `content`, which must be writable memory itself, to the extents, one after the other. Raises OSError."""
        self._alive()
        done = _transfer(_LIBC.process_vm_writev, self.process.pid, content, extents)
        if done < len(content):
            self._force(extents, content, done)
        self._alive()

    def _force(self, extents: Sequence[Extent], content: memoryview, done: int) -> None:
        self.forced += len(content) - done
        position = 0
        for address, length in extents:
            begin = max(done, position)
            while begin < position + length:
                begin += os.pwrite(self._mem, content[begin : position + length], address + begin - position)
            position += length

    def _alive(self) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if poll.poll(0):
            raise ProcessLookupError(errno.ESRCH, f"process {self.process.pid} is gone")


def _transfer(call: "ctypes._NamedFuncPointer", pid: int, local: memoryview, extents: Sequence[Extent]) -> int:
    """Moves bytes between `local` and the extents; returns how many before protections stood in the way."""
    done = 0
    base = ctypes.addressof(ctypes.c_char.from_buffer(local))
    for first in range(0, len(extents), _MOST_VECTORS):
        part = extents[first : first + _MOST_VECTORS]
        remote = (_Vector * len(part))(*(_Vector(*extent) for extent in part))
        wanted = sum(length for _, length in part)
        moved: int = call(pid, ctypes.byref(_Vector(base + done, wanted)), 1, remote, len(part), 0)
        if moved < 0:
            code = ctypes.get_errno()
            if code not in _REFUSED:
                raise OSError(code, f"memory of process {pid}: {os.strerror(code)}")
            return done
        done += moved
        if moved < wanted:
            return done
    return done


def open_memory(members: Sequence[processes.Process], inner: int) -> ProcessMemory:
    """The memory of the process that has this number in its own namespace. Raises OSError when there is none."""
    process = next((member for member in members if member.inner == inner), None)
    if process is None:
        raise ProcessLookupError(errno.ESRCH, f"process {inner} of the worker is not there")
    return ProcessMemory(process)
