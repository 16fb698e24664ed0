"""Writing packs: chunks one after the other, each at the start of a page, so that a pack can be mapped or read directly."""

import secrets
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Final

from chrek_agent.store.backend import Backend
from chrek_agent.store.chunking import PAGE, Buffer, Extent, to_bitmap
from chrek_agent.store.index import Index, Record, dump_index, index_key, pack_key
from chrek_agent.store.sealing import Keyring

PACK_BYTES: Final = 1 << 30
"""A pack is closed once it has this many bytes."""

_PADDING: Final = bytes(PAGE)


def new_pack() -> str:
    """A name that no other pack has."""
    return secrets.token_hex(16)


class _Pack:
    """One pack under way."""

    def __init__(self, backend: Backend, keys: Keyring) -> None:
        self.name = new_pack()
        self.size = 0
        self._sealer = keys.sealer(self.name)
        self._records: dict[bytes, Record] = {}
        self._writer = backend.writer(pack_key(self.name))

    def append(self, digest: bytes, length: int, extents: Sequence[Extent], codec: int, pieces: Sequence[Buffer]) -> None:
        stored = sum(map(len, pieces))
        padding = -stored % PAGE
        record = Record(digest, self.size, stored, length, codec, to_bitmap(extents))
        if self._sealer is not None:
            record, pieces = self._sealer.seal(record, pieces)
        self._writer.write(*pieces, _PADDING[:padding])
        self._records[digest] = record
        self.size += stored + padding

    def close(self) -> Index:
        self._writer.close()
        return Index(self.name, self.size, self._records, "" if self._sealer is None else self._sealer.key)

    def abort(self) -> None:
        self._writer.abort()


class Packs:
    """The packs that one capture or repack writes. Each thread takes one for itself, so that several are written at once."""

    def __init__(self, backend: Backend, cap: int, keys: Keyring) -> None:
        self._backend = backend
        self._cap = cap
        self._keys = keys
        self._lock = threading.Lock()
        self._idle: list[_Pack] = []
        self._closed: list[Index] = []
        self._published: list[Index] = []
        self._forgotten: set[str] = set()

    @property
    def names(self) -> set[str]:
        """Packs whose indexes have been written, less those forgotten."""
        return {index.pack for index in self._published} - self._forgotten

    def forget(self, names: set[str]) -> None:
        """Relies no longer on some of them."""
        self._forgotten |= names

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        with self._lock:
            return sum(pack.size for pack in self._idle) + sum(index.size for index in [*self._closed, *self._published])

    def append(self, digest: bytes, length: int, extents: Sequence[Extent], codec: int, pieces: Sequence[Buffer]) -> None:
        """Stores one chunk; any thread."""
        with self._lock:
            pack = self._idle.pop() if self._idle else None
        pack = pack or _Pack(self._backend, self._keys)
        try:
            pack.append(digest, length, extents, codec, pieces)
            index = pack.close() if pack.size >= self._cap else None
        except BaseException:
            pack.abort()
            raise
        with self._lock:
            if index is None:
                self._idle.append(pack)
            else:
                self._closed.append(index)

    def publish(self, pool: Executor) -> None:
        """Closes all packs and writes their indexes: from now on others may rely on them."""
        while self._idle:
            batch, self._idle = self._idle, []
            try:
                self._closed += pool.map(_Pack.close, batch)
            finally:
                _abort(batch)
        while self._closed:
            # Moved first: an index of which the write failed may be there all the same.
            self._published.append(self._closed.pop())
            index = self._published[-1]
            self._backend.put(index_key(index.pack), dump_index(index))

    def abandon(self) -> None:
        """Removes what nobody can have seen; what was published is left to the sweep."""
        _abort(self._idle)
        self._idle = []
        for index in self._closed:
            with suppress(OSError):
                self._backend.delete(pack_key(index.pack))
        self._closed = []


def _abort(packs: Iterable[_Pack]) -> None:
    for pack in packs:
        with suppress(OSError):
            pack.abort()
