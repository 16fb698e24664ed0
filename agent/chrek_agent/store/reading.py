"""Reading chunks back: from a pack on this machine by `pread`, from elsewhere by ranged reads; nothing is believed unchecked."""

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chrek_agent.errors import ArtifactError
from chrek_agent.store import chunking
from chrek_agent.store.backend import Backend
from chrek_agent.store.blocks import Blocks
from chrek_agent.store.cached import CachedBackend
from chrek_agent.store.chunking import Extent
from chrek_agent.store.codec import NAMES, decode
from chrek_agent.store.index import Record, pack_key
from chrek_agent.store.local import open_regular


class DamagedPackError(ArtifactError):
    """A chunk is not what was stored; `pack` is the pack that it was read from."""

    def __init__(self, pack: str, message: str) -> None:
        super().__init__(message)
        self.pack = pack


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk's pages are stored.

    `stored` bytes at `offset`, which is a multiple of 4096, of pack `pack`; `path` is the pack as a file, if it is one here.
    With the codec `raw` they are the pages themselves, one after the other; else a compressed frame.
    """

    pack: str
    path: Path | None
    offset: int
    stored: int
    codec: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that is not all zeros.

    `offset` is that in its run or file; `extents` are offsets in the chunk and lengths of what is not zero: its dense form is
    these, one after the other.
    """

    offset: int
    length: int
    digest: bytes
    place: Place
    extents: list[Extent]
    record: Record


def decoded(pack: str, record: Record, stored: memoryview) -> memoryview:
    """The chunk's pages, dense; raises DamagedPackError if these bytes are not they."""
    if len(stored) != record.stored:
        raise DamagedPackError(pack, f"pack {pack} ends in the middle of a chunk")
    try:
        return decode(record.codec, stored, record.dense)
    except ArtifactError as error:
        raise DamagedPackError(pack, f"chunk {record.digest.hex()[:16]} in pack {pack}: {error}") from error


def check(pack: str, record: Record, dense: memoryview) -> None:
    """Raises DamagedPackError if these pages are not the chunk's."""
    pieces = chunking.scatter(record.extents, dense)
    if len(dense) != record.dense or chunking.digest(record.length, pieces) != record.digest:
        raise DamagedPackError(pack, f"chunk {record.digest.hex()[:16]} in pack {pack} has changed")


class PackReader:
    """Reads some packs. Files are opened at once, so that a sweep does not take them away from under a restore."""

    def __init__(self, backend: Backend, packs: Iterable[str]) -> None:
        self._backend = backend
        self._files: dict[str, int] = {}
        self._lock = threading.Lock()
        self.paths: dict[str, Path | None] = {}
        try:
            for pack in packs:
                self.paths[pack] = path = backend.local(pack_key(pack))
                if path is not None:
                    self._files[pack] = open_regular(path)
        except BaseException:
            self.close()
            raise

    def place(self, pack: str, record: Record) -> Place:
        """Where a chunk is."""
        return Place(pack, self.paths[pack], record.offset, record.stored, NAMES[record.codec])

    def read(self, pack: str, offset: int, length: int, into: memoryview | None) -> memoryview:
        """Bytes of a pack, fewer at its end; in `into` if it is given. Raises OSError."""
        descriptor = self._files.get(pack)
        if descriptor is None:
            content = memoryview(self._backend.read(pack_key(pack), offset, length))
            if into is None:
                return content
            into[: len(content)] = content
            return into[: len(content)]
        target = (memoryview(bytearray(length)) if into is None else into)[:length]
        done = 0
        while done < length and (count := os.preadv(descriptor, [target[done:]], offset + done)):
            done += count
        return target[:done]

    def forget(self, place: Place) -> None:
        """What was read there was not right: a cache must not keep it."""
        backend = self._backend
        if isinstance(backend, CachedBackend):
            backend.cache.forget(pack_key(place.pack), place.offset, place.stored)
            backend = backend.inner
        if isinstance(backend, Blocks):
            backend.forget(pack_key(place.pack), place.offset)

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            while self._files:
                with suppress(OSError):
                    os.close(self._files.popitem()[1])
