"""Reading chunks back: from a pack on this machine by `pread`, from elsewhere by ranged reads; nothing is believed unchecked."""

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.errors import ArtifactError
from chrek_agent.store import chunking
from chrek_agent.store.backend import Backend
from chrek_agent.store.cached import Through
from chrek_agent.store.chunking import Extent
from chrek_agent.store.codec import NAMES, decode
from chrek_agent.store.index import Record, pack_key
from chrek_agent.store.local import fill, open_regular
from chrek_agent.store.sealing import Keyring

SEALED: Final = "sealed"


class DamagedPackError(ArtifactError):
    """A chunk is not what was stored; `pack` is the pack that it was read from."""

    def __init__(self, pack: str, message: str) -> None:
        super().__init__(message)
        self.pack = pack


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk's pages are stored.

    `stored` bytes at `offset`, which is a multiple of 4096, of pack `pack`; `path` is the pack as a file, if it is one here.
    With the codec `raw` they are the pages themselves, one after the other; else a compressed frame, or `sealed`.
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


def opened(pack: str, record: Record, stored: memoryview, keys: Keyring, into: memoryview | None = None) -> memoryview:
    """What was stored before it was sealed, if it is; raises DamagedPackError if these bytes are not it, or KeyMissingError."""
    if len(stored) != record.stored:
        raise DamagedPackError(pack, f"pack {pack} ends in the middle of a chunk")
    try:
        return keys.open(pack, record, stored, into)
    except ArtifactError as error:
        raise DamagedPackError(pack, f"chunk {record.digest.hex()[:16]} in pack {pack}: {error}") from error


def decoded(pack: str, record: Record, stored: memoryview) -> memoryview:
    """The chunk's pages, dense; raises DamagedPackError if these bytes, which are not sealed any more, are not they."""
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
        return Place(pack, self.paths[pack], record.offset, record.stored, SEALED if record.key else NAMES[record.codec])

    def read(self, pack: str, offset: int, length: int, into: memoryview | None) -> memoryview:
        """Bytes of a pack, fewer at its end; if `into` is given in it, or where they have been read to. Raises OSError."""
        descriptor = self._files.get(pack)
        target = (memoryview(bytearray(length)) if into is None else into)[:length]
        if descriptor is None and into is not None and isinstance(self._backend, Through):
            return self._backend.view(pack_key(pack), offset, target)
        if descriptor is None:
            return target[: self._backend.read_into(pack_key(pack), offset, target)]
        return target[: fill(descriptor, offset, target)]

    def expect(self, places: Iterable[Place]) -> None:
        """Tells what will be read soon, in this order."""
        if isinstance(self._backend, Through):
            self._backend.expect((pack_key(place.pack), place.offset, place.stored) for place in places if place.path is None)

    def forget(self, place: Place) -> None:
        """What was read there was not right: a cache must not keep it."""
        if isinstance(self._backend, Through):
            self._backend.forget(pack_key(place.pack), place.offset, place.stored)

    def close(self) -> None:
        """Closes the files, and reads nothing ahead any more."""
        if isinstance(self._backend, Through):
            self._backend.close()
        with self._lock:
            while self._files:
                with suppress(OSError):
                    os.close(self._files.popitem()[1])
