"""A node's own copies of what restores have read: pieces of packs, in a directory of which the size is bounded.

Each piece is a file that ends with a digest of itself: one that a crash or a disk has damaged counts as missing, so that nothing
has to be synced. Pieces belong to packs, not to artifacts: what artifacts share is kept once. Pieces that no restore has read for
the longest time go first, and those of what the node was asked to have stay.
"""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from blake3 import blake3

from chrek_agent.store.backend import Backend, Entry, Wanted, Writer
from chrek_agent.store.chunking import Buffer
from chrek_agent.store.index import INDEX_END, PACK_END, PACKS, is_whole
from chrek_agent.store.local import fill, open_regular
from chrek_agent.store.pieces import Pieces

LOG: Final = logging.getLogger(__name__)
LOW: Final = 0.9
"""Once the quota is reached pieces go until this share of it is left."""
SETTLED_SECONDS: Final = 60.0
"""A piece that was read more recently stays: else an artifact larger than the quota would push out its own beginning."""
LARGEST: Final = 64 << 20

_DIGEST: Final = 32
_UNFINISHED: Final = ".new-"


class PieceCache:
    """Pieces by the key of their object, their offset and the length asked for. Any thread may use it.

    Args:
        directory: Its own.
        quota: Bytes that it may use.
        clock: Seconds; that of file times.
    """

    def __init__(self, directory: Path, quota: int, clock: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self.quota = quota
        self._clock = clock
        self._lock = threading.Lock()
        self._pieces = Pieces()
        self._coming = 0
        """Bytes of pieces that are being written."""
        self._warned = False
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._scan()

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        return self._pieces.size

    def pin(self, holder: str, packs: Iterable[str]) -> None:
        """Keeps what is here, or comes, of these packs until the holder unpins them or pins others."""
        with self._lock:
            self._pieces.pin(holder, packs)

    def unpin(self, holder: str) -> None:
        """Takes that back."""
        with self._lock:
            self._pieces.unpin(holder)

    def holds(self, key: str, offset: int, length: int) -> bool:
        """Whether there is such a piece; it may be damaged."""
        with self._lock:
            return _name(key, offset, length) in self._pieces

    def get(self, key: str, offset: int, length: int) -> bytes | None:
        """A piece; None if it is not there, or not what it was."""
        found = self._get(_name(key, offset, length), None)
        return None if found is None else bytes(found)

    def get_into(self, key: str, offset: int, into: memoryview) -> int | None:
        """The same, of as many bytes as there is room for; returns how many there were."""
        found = self._get(_name(key, offset, len(into)), into)
        return None if found is None else len(found)

    def _get(self, name: str, into: memoryview | None) -> memoryview | None:
        with self._lock:
            if name not in self._pieces:
                return None
        try:
            content, digest = _read(self.directory / name, into)
        except OSError:
            content, digest = memoryview(b""), b""
        if blake3(content).digest() != digest:
            self._forget(name)
            return None
        self._note(name, len(content) + _DIGEST)
        return content

    def forget(self, key: str, offset: int, length: int) -> None:
        """Drops a piece."""
        self._forget(_name(key, offset, length))

    def put(self, key: str, offset: int, length: int, content: Buffer) -> None:
        """Keeps a piece if there is room for it. A disk that refuses is no error: the store has it."""
        name, size = _name(key, offset, length), len(content) + _DIGEST
        if not self._make_room(size):
            return
        path = self.directory / name
        aside = self.directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", buffering=0) as file:
                _write(file.fileno(), content)
                _write(file.fileno(), blake3(content).digest())
            aside.rename(path)
        except OSError as error:
            with suppress(OSError):
                aside.unlink()
            self._warn(error)
        else:
            self._note(name, size)
        finally:
            with self._lock:
                self._coming -= size

    def _make_room(self, size: int) -> bool:
        """Pieces go, down to the low watermark, if this one would not fit; whether it does now, and has its room."""
        if size > min(self.quota, LARGEST):
            return False
        with self._lock:
            if self._reserve(size):
                return True
            before = self.size
            gone = self._pieces.give_up(self.quota * LOW - self._coming - size, self._clock() - SETTLED_SECONDS)
            freed = before - self.size
            self._coming += freed  # Its room is nobody's until it is there.
        for name in gone:
            self._unlink(name)
        with self._lock:
            self._coming -= freed
            return self._reserve(size)

    def _reserve(self, size: int) -> bool:
        fits = self.size + self._coming + size <= self.quota
        self._coming += size if fits else 0
        return fits

    def _note(self, name: str, size: int) -> None:
        """A piece has been used now."""
        now = self._clock()
        with self._lock:
            self._pieces.note(name, size, now)
        with suppress(OSError):
            os.utime(self.directory / name, (now, now))

    def _forget(self, name: str) -> None:
        with self._lock:
            self._pieces.forget(name)
        self._unlink(name)

    def _unlink(self, name: str) -> None:
        path = self.directory / name
        with suppress(OSError):
            path.unlink()
            path.parent.rmdir()  # Refused while there are others.

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            LOG.warning("the cache in %s keeps nothing new: %s", self.directory, error.strerror or error)

    def _scan(self) -> None:
        """What an earlier agent kept, oldest use first. What it left unfinished goes."""
        found = []
        for path in self.directory.iterdir():
            if path.name.startswith(_UNFINISHED):
                path.unlink(missing_ok=True)
            elif path.is_dir() and not path.is_symlink():
                for piece in os.scandir(path):
                    status = piece.stat(follow_symlinks=False)
                    found.append((status.st_mtime, f"{path.name}/{piece.name}", status.st_size))
        for used, name, size in sorted(found):
            self._pieces.note(name, size, used)


class Through:
    """Another backend, of which all is passed on."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """There."""
        self.inner.put(key, data, if_absent=if_absent)

    def writer(self, key: str) -> Writer:
        """There."""
        return self.inner.writer(key)

    def read(self, key: str, offset: int, length: int) -> bytes:
        """From there."""
        return self.inner.read(key, offset, length)

    def read_into(self, key: str, offset: int, into: memoryview) -> int:
        """From there."""
        found = self.view(key, offset, into)
        if found.obj is not into.obj:
            into[: len(found)] = found
        return len(found)

    def view(self, key: str, offset: int, into: memoryview) -> memoryview:
        """The same, in `into` or where it is anyway; nobody changes it there while there is a view of it."""
        if isinstance(self.inner, Through):
            return self.inner.view(key, offset, into)
        return into[: self.inner.read_into(key, offset, into)]

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """Tells what will be read soon, in this order."""
        if isinstance(self.inner, Through):
            self.inner.expect(wanted)

    def forget(self, key: str, offset: int, length: int) -> None:
        """What was read there was not right: it is not to be kept."""
        if isinstance(self.inner, Through):
            self.inner.forget(key, offset, length)

    def close(self) -> None:
        """Nothing more will be read."""
        if isinstance(self.inner, Through):
            self.inner.close()

    def size(self, key: str) -> int:
        """There."""
        return self.inner.size(key)

    def list(self, prefix: str) -> list[Entry]:
        """There."""
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        """There; what is cached goes in its time."""
        self.inner.delete(key)

    def local(self, key: str) -> Path | None:
        """There."""
        return self.inner.local(key)

    def prune(self, before: datetime) -> int:
        """There."""
        return self.inner.prune(before)


class CachedBackend(Through):
    """Another backend, of which packs and their indexes are read by way of a cache: they never change."""

    def __init__(self, inner: Backend, cache: PieceCache) -> None:
        super().__init__(inner)
        self.cache = cache

    def read(self, key: str, offset: int, length: int) -> bytes:
        """From the cache if it is in it, else from there into it."""
        if not (key.startswith(PACKS) and key.endswith((PACK_END, INDEX_END))):
            return self.inner.read(key, offset, length)
        content = self.cache.get(key, offset, length)
        if content is None:
            content = self.inner.read(key, offset, length)
            if key.endswith(PACK_END) or is_whole(content):
                self.cache.put(key, offset, length, content)
        return content

    def view(self, key: str, offset: int, into: memoryview) -> memoryview:
        """The same of a pack."""
        count = self.cache.get_into(key, offset, into)
        if count is not None:
            return into[:count]
        found = super().view(key, offset, into)
        self.cache.put(key, offset, len(into), found)
        return found

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """What is here need not be read ahead."""
        super().expect(piece for piece in wanted if not self.cache.holds(*piece))

    def forget(self, key: str, offset: int, length: int) -> None:
        """Here and there."""
        self.cache.forget(key, offset, length)
        super().forget(key, offset, length)

    def local(self, key: str) -> Path | None:
        """None: a file would be read past the cache."""
        return None


def _name(key: str, offset: int, length: int) -> str:
    """`<pack>/<offset>-<length>`, or `<pack>/index`."""
    pack = key.removeprefix(PACKS).removesuffix(PACK_END).removesuffix(INDEX_END)
    return f"{pack}/index" if key.endswith(INDEX_END) else f"{pack}/{offset}-{length}"


def _read(path: Path, into: memoryview | None) -> tuple[memoryview, bytes]:
    descriptor = open_regular(path)
    try:
        length = max(os.fstat(descriptor).st_size - _DIGEST, 0)
        if into is None:
            into = memoryview(bytearray(min(length, LARGEST)))
        content = into[: fill(descriptor, 0, into[:length])]
        return content, os.pread(descriptor, _DIGEST, len(content))
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: Buffer) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
