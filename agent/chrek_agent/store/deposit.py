"""What one capture relies on in the packs: chunks that were there, and those that it adds. Nothing that it relies on may go."""

import threading
from collections.abc import Sequence
from concurrent.futures import Executor

from chrek_agent.errors import ArtifactError
from chrek_agent.store.backend import Backend
from chrek_agent.store.catalog import Catalog, complete, read_catalog, read_listing
from chrek_agent.store.chunking import Buffer, Extent
from chrek_agent.store.index import Record, pack_key
from chrek_agent.store.pack import PACK_BYTES, Packs
from chrek_agent.store.reading import check, decoded, opened
from chrek_agent.store.sealing import Keyring


class Deposit:
    """Deduplicates against the packs that were live when it was made, and are sealed as new ones are: with the same key, or not."""

    def __init__(self, backend: Backend, keys: Keyring) -> None:
        self._backend = backend
        self._keys = keys
        self._known = read_catalog(backend, read_listing(backend)).homes(keys.current)
        self._lock = threading.Lock()
        self._wanted: set[bytes] = set()
        self._packs = Packs(backend, PACK_BYTES, keys)
        self._found: set[str] = set()

    @property
    def size(self) -> int:
        """Bytes added to packs."""
        return self._packs.size

    @property
    def relied(self) -> set[str]:
        """The packs that hold the chunks; complete after `secure`."""
        return self._found | self._packs.names

    def claim(self, digest: bytes) -> bool:
        """Notes that a chunk is wanted; True if the caller has to append it."""
        with self._lock:
            if digest in self._wanted:
                return False
            self._wanted.add(digest)
            pack = self._known.get(digest)
            if pack is not None:
                self._found.add(pack)
            return pack is None

    def append(self, digest: bytes, length: int, extents: Sequence[Extent], codec: int, pieces: Sequence[Buffer]) -> None:
        """Stores a claimed chunk; any thread."""
        self._packs.append(digest, length, extents, codec, pieces)

    def secure(self, pool: Executor) -> None:
        """Makes sure that every wanted chunk lies in a pack that stays; copies those of packs that are about to go.

        Raises:
            ArtifactError: One has gone.
            OSError: The store refused.
        """
        while True:
            self._packs.publish(pool)
            listing = complete(self._backend, read_listing(self._backend), self.relied)
            if all(listing.is_live(pack) for pack in self.relied):
                return
            self._rescue(read_catalog(self._backend, listing))

    def _rescue(self, catalog: Catalog) -> None:
        places = catalog.locate(self._wanted, lambda key: key == self._keys.current)
        relied = set()
        for digest in self._wanted:
            if digest not in places:
                raise ArtifactError(f"chunk {digest.hex()[:16]} has vanished from the store during the capture")
            pack, record = places[digest]
            if catalog.listing.is_live(pack) and record.key == self._keys.current:
                relied.add(pack)
            else:
                copy_chunk(self._backend, self._packs, pack, record, self._keys)
        self._found = relied
        self._packs.forget({name for name in self._packs.names if not catalog.listing.is_live(name)})

    def keep(self, pool: Executor) -> None:
        """Publishes what was appended, though no artifact may come of it: whoever tries again finds it. Not while others append."""
        self._packs.publish(pool)

    def abandon(self) -> None:
        """Removes what nobody can have seen."""
        self._packs.abandon()


def copy_chunk(backend: Backend, packs: Packs, pack: str, record: Record, keys: Keyring) -> None:
    """Copies a chunk from one pack to others, sealed anew; raises ArtifactError if it is not what its name says."""
    stored = opened(pack, record, memoryview(backend.read(pack_key(pack), record.offset, record.stored)), keys)
    check(pack, record, decoded(pack, record, stored))
    packs.append(record.digest, record.length, record.extents, record.codec, [stored])
