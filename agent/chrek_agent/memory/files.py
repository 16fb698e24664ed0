"""Reading ranges of local packs: from the page cache where they are in it, else past it, so that nothing is copied twice."""

import ctypes
import errno
import mmap
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from chrek_agent.store.chunking import CHUNK, PAGE

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CACHESTAT: Final = 451
# What a file system says that has no direct reads after all.
_UNABLE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL})


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Cache(ctypes.Structure):
    """The kernel's struct cachestat, in pages."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted"))


@dataclass(frozen=True, slots=True)
class _File:
    """A pack, open twice; `direct` is -1 where the file system has no such thing."""

    cached: int
    direct: int
    mapped: memoryview | None


class PackFiles:
    """Packs by their paths, opened when first needed; any thread may use it.

    Args:
        mapped: What is in the page cache is mapped, not copied. Whoever maps a file that is cut off meanwhile is killed, so this is
            for a process that may be.
    """

    def __init__(self, *, mapped: bool = False) -> None:
        self._mapped = mapped
        self._files: dict[Path, _File] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes all packs; mappings last as long as what was read from them."""
        for file in self._files.values():
            os.close(file.cached)
            if file.direct >= 0:
                os.close(file.direct)
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def read(self, path: Path, offset: int, length: int, into: memoryview) -> memoryview | None:
        """A range of a pack, of one chunk at most, in writable memory: in `into`, which is a page-aligned chunk, or in a mapping.

        None when it is not all there, or cannot be had in this way. Raises OSError.
        """
        if length > CHUNK:
            return None
        file = self._open(path)
        view = into[:length]
        if _in_cache(file.cached, offset, length):
            if file.mapped is not None:
                return file.mapped[offset : offset + length] if offset + length <= len(file.mapped) else None
            return view if os.preadv(file.cached, [view], offset) == length else None
        if file.direct >= 0 and offset % PAGE == 0:
            rounded = into[: -(-length // PAGE) * PAGE]
            return view if _read_direct(file.direct, rounded, offset) >= length else None
        return None

    def _open(self, path: Path) -> _File:
        with self._lock:
            found = self._files.get(path)
            if found is None:
                cached = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    direct = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
                except OSError:
                    direct = -1
                found = self._files[path] = _File(cached, direct, self._map(cached))
            return found

    def _map(self, descriptor: int) -> memoryview | None:
        size = os.fstat(descriptor).st_size
        if not self._mapped or not size:
            return None
        # A private mapping is writable, as the calls that take its address want it, and is never written to.
        return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY))


def _in_cache(descriptor: int, offset: int, length: int) -> bool:
    """Whether a range of a file is in the page cache as a whole; True where the kernel, before 6.5, cannot say.

    A read that must not wait would tell as well, but has the kernel read ahead what is then read a second time.
    """
    found = _Cache()
    asked = _Range(offset, length)
    if _LIBC.syscall(_CACHESTAT, descriptor, ctypes.byref(asked), ctypes.byref(found), 0) != 0:
        return True
    return bool(found.cached >= -(-length // PAGE))


def _read_direct(descriptor: int, view: memoryview, offset: int) -> int:
    try:
        return os.preadv(descriptor, [view], offset)
    except OSError as error:
        if error.errno in _UNABLE:
            return 0
        raise
