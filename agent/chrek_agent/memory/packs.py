"""Reading chunks from local packs: from the page cache where they are in it, else past it, so that nothing is copied twice."""

import ctypes
import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from chrek_agent.store.artifact import Artifact
from chrek_agent.store.chunking import CHUNK, PAGE
from chrek_agent.store.reading import Chunk

_RAW: Final = "raw"
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
class _Files:
    """A pack, open twice; `direct` is -1 where the file system has no such thing."""

    cached: int
    direct: int


class PackReader:
    """Reads chunks' stored pages; any thread may use it."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._files: dict[Path, _Files] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes all packs."""
        for files in self._files.values():
            os.close(files.cached)
            if files.direct >= 0:
                os.close(files.direct)
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def read(self, chunk: Chunk, into: memoryview) -> memoryview:
        """The chunk's non-zero pages, dense and writable, not yet checked; `into` is one page-aligned chunk.

        Raises OSError, or ArtifactError when they cannot be there.
        """
        place = chunk.place
        if place.codec != _RAW or place.path is None or place.stored > CHUNK:
            return self._fetch(chunk, into)
        files = self._open(place.path)
        view = into[: place.stored]
        if _in_cache(files.cached, place.offset, place.stored):
            if os.preadv(files.cached, [view], place.offset) == len(view):
                return view
        elif files.direct >= 0 and place.offset % PAGE == 0:
            rounded = into[: -(-place.stored // PAGE) * PAGE]
            if _read_direct(files.direct, rounded, place.offset) >= place.stored:
                return view
        return self._fetch(chunk, into)

    def _fetch(self, chunk: Chunk, into: memoryview) -> memoryview:
        dense = self._artifact.fetch(chunk, into)
        if dense.readonly:
            into[: len(dense)] = dense
            return into[: len(dense)]
        return dense

    def _open(self, path: Path) -> _Files:
        with self._lock:
            found = self._files.get(path)
            if found is None:
                cached = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    direct = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
                except OSError:
                    direct = -1
                found = self._files[path] = _Files(cached, direct)
            return found


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
