"""One artifact as a restore reads it."""

import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from chrek_agent.errors import AgentError, ArtifactError, StoreError
from chrek_agent.store import chunking
from chrek_agent.store.backend import Backend
from chrek_agent.store.catalog import complete, look_up, read_catalog, read_listing
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.index import Index, Record
from chrek_agent.store.model import APART, MANIFEST, Blob, Manifest, Run
from chrek_agent.store.reading import Chunk, DamagedPackError, PackReader, check, decoded, opened
from chrek_agent.store.refusals import StorageError
from chrek_agent.store.sealing import NO_KEYS, Keyring, Seal
from chrek_agent.store.signing import SIGNATURE

THREADS: Final = min(16, os.cpu_count() or 1)
REMOTE_THREADS: Final = 16
"""Where answers are waited for."""

Progress = Callable[[int, int], None]
"""Told bytes done and bytes in all; by any thread, one at a time."""


class Artifact:
    """An artifact whose manifest has been checked, and of which every chunk has a place in a pack that is there.

    Methods raise ArtifactError for what is not what was captured, with one line that names it, and so does making one, which
    raises KeyMissingError too. They may be called from several threads. It holds open files until it is closed.
    """

    def __init__(self, backend: Backend, manifest: Manifest, keys: Keyring = NO_KEYS) -> None:
        self.manifest = manifest
        self._backend = backend
        self._keys = keys
        self._places, self._indexes = _find(backend, manifest, keys)
        self._own = threading.local()
        try:
            self._reader = PackReader(backend, {pack for pack, _ in self._places.values()})
        except OSError as error:
            raise ArtifactError(f"artifact {manifest.generation} cannot be read: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes its files."""
        self._reader.close()

    @property
    def is_remote(self) -> bool:
        """Its packs are not files here."""
        return None in self._reader.paths.values()

    @property
    def memory(self) -> list[Run]:
        """The runs that a restore fills: all but those that the worker loads by itself."""
        return [run for run in self.manifest.memory if run.kind != APART]

    @property
    def packs(self) -> dict[str, str]:
        """The packs that hold its chunks, each with the name of the key that it is sealed with."""
        return {pack: record.key for pack, record in self._places.values()}

    def owns(self, pack: str) -> bool:
        """Nothing is in the pack but chunks of this artifact: who may have the artifact may have the pack as it is."""
        index = self._indexes[pack]
        return index.records.keys() <= self._places.keys() and index.size == sum(record.room for record in index.records.values())

    def chunks(self, content: Run | Blob) -> Iterator[Chunk]:
        """The chunks of a run or a file that are not all zeros, in order."""
        size = content.length if isinstance(content, Run) else content.size
        for number, (length, name) in enumerate(zip(chunking.lengths(size), content.chunks, strict=True)):
            if name is not None:
                pack, record = self._places[bytes.fromhex(name)]
                if record.length != length:
                    raise ArtifactError(f"artifact {self.manifest.generation} is corrupt: chunk {name[:16]} has another length")
                yield Chunk(number * CHUNK, length, record.digest, self._reader.place(pack, record), record.extents, record)

    def expect(self, chunks: Iterable[Chunk]) -> None:
        """Tells what will be fetched soon, in this order: what is remote is read ahead, by few requests."""
        if self.is_remote:
            self._reader.expect(chunk.place for chunk in chunks)

    def fetch(self, chunk: Chunk, into: memoryview | None = None) -> memoryview:
        """The chunk's pages that are not zero, one after the other, not yet checked.

        From a remote store they are, and asked for once more if they are not right: they may have been changed on their way.

        Args:
            chunk: Which.
            into: A buffer of 2 MiB to use; None for a new one. What is returned need not be in it.
        """
        if not self.is_remote:
            return self._fetch(chunk, into)
        try:
            dense = self._fetch(chunk, into)
            self.check(chunk, dense)
        except DamagedPackError:
            self._reader.forget(chunk.place)
            return self._fetch(chunk, into)
        self._own.checked = dense
        return dense

    def _fetch(self, chunk: Chunk, into: memoryview | None) -> memoryview:
        pack, record = chunk.place.pack, chunk.record
        first = self._buffer("sealed") if record.key else into
        try:
            stored = self._reader.read(pack, record.offset, record.stored, first)
        except OSError as error:
            raise self._unreadable(pack, error) from error
        return decoded(pack, record, opened(pack, record, stored, self._keys, into))

    def seal(self, chunk: Chunk) -> Seal | None:
        """What opens a sealed chunk, for a process that is not to have the store's key."""
        return self._keys.seal(chunk.place.pack, chunk.record)

    def check(self, chunk: Chunk, dense: memoryview) -> None:
        """Compares fetched pages with the digest, unless the fetch has just done so."""
        if getattr(self._own, "checked", None) is dense:
            self._own.checked = None
            return
        check(chunk.place.pack, chunk.record, dense)

    def pieces(self, chunk: Chunk, dense: memoryview) -> list[tuple[int, memoryview]]:
        """Fetched pages and their offsets in the chunk."""
        return chunking.scatter(chunk.extents, dense)

    def content(self, path: str) -> bytes | None:
        """One small file, verified, before any has been written out; None where there is none. Raises ArtifactError."""
        blob = self.manifest.files.get(path)
        if blob is None:
            return None
        content = bytearray(blob.size)
        for chunk in self.chunks(blob):
            dense = self.fetch(chunk)
            self.check(chunk, dense)
            for offset, piece in self.pieces(chunk, dense):
                start = chunk.offset + offset
                content[start : start + len(piece)] = piece
        return bytes(content)

    def materialise(self, directory: Path) -> None:
        """Writes all files below an existing directory, checked; raises OSError too."""
        for path, blob in self.manifest.files.items():
            target = directory / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with target.open("xb", buffering=0) as file:
                file.truncate(blob.size)
        tasks = [(directory / path, chunk) for path, blob in self.manifest.files.items() for chunk in self.chunks(blob)]
        self.expect(chunk for _, chunk in tasks)
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(lambda task: self._write(*task), tasks))

    def verify(self, progress: Progress | None = None) -> None:
        """Reads everything back."""
        home = f"{self.manifest.identity_hash}/{self.manifest.generation}/"
        for entry in self._backend.list(home):
            if entry.key.removeprefix(home) not in (MANIFEST, SIGNATURE):
                raise ArtifactError(f"artifact {self.manifest.generation} is corrupt: {entry.key} does not belong to it")
        chunks = {chunk.digest: chunk for content in self._contents() for chunk in self.chunks(content)}
        total = sum(chunk.place.stored for chunk in chunks.values())
        done = 0
        lock = threading.Lock()

        def verify(chunk: Chunk) -> None:
            nonlocal done
            try:
                self._verify(chunk)
            except DamagedPackError:
                if not self.is_remote:
                    raise
                self._reader.forget(chunk.place)
                self._verify(chunk)  # It may have been changed on its way.
            with lock:
                done += chunk.place.stored
                if progress is not None:
                    progress(done, total)

        ordered = sorted(chunks.values(), key=lambda chunk: (chunk.place.pack, chunk.place.offset))
        self.expect(ordered)
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(verify, ordered))

    @property
    def _threads(self) -> int:
        return REMOTE_THREADS if self.is_remote else THREADS

    def _contents(self) -> Iterator[Run | Blob]:
        yield from self.manifest.files.values()
        yield from self.manifest.memory

    def _write(self, target: Path, chunk: Chunk) -> None:
        dense = self.fetch(chunk, self._buffer("opened"))
        self.check(chunk, dense)
        descriptor = os.open(target, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            for offset, data in self.pieces(chunk, dense):
                _write_all(descriptor, data, chunk.offset + offset)
        finally:
            os.close(descriptor)

    def _verify(self, chunk: Chunk) -> None:
        """The padding behind a chunk is checked too, so that no byte of a pack goes unseen."""
        record, pack = chunk.record, chunk.place.pack
        try:
            stored = self._reader.read(pack, record.offset, record.room, self._buffer("sealed"))
        except OSError as error:
            raise self._unreadable(pack, error) from error
        if len(stored) != record.room or stored[record.stored :] != bytes(record.room - record.stored):
            raise DamagedPackError(pack, f"pack {pack} is damaged behind chunk {record.digest.hex()[:16]}")
        sealed = opened(pack, record, stored[: record.stored], self._keys, self._buffer("opened"))
        check(pack, record, decoded(pack, record, sealed))

    def _unreadable(self, pack: str, error: OSError) -> AgentError:
        if isinstance(error, StorageError):
            return StoreError(str(error))
        return ArtifactError(f"pack {pack} of artifact {self.manifest.generation} cannot be read: {error}")

    def _buffer(self, name: str) -> memoryview:
        """The calling thread's own of this name."""
        if not hasattr(self._own, name):
            setattr(self._own, name, memoryview(mmap.mmap(-1, CHUNK)))
        return getattr(self._own, name)  # type: ignore[no-any-return]


def _find(backend: Backend, manifest: Manifest, keys: Keyring) -> tuple[dict[bytes, tuple[str, Record]], dict[str, Index]]:
    """Where each chunk is: in the packs that the manifest names or, after a repack, in any other; and their indexes."""
    wanted = manifest.digests()
    try:
        listing = look_up(backend, manifest.packs)
        hinted = [pack for pack in manifest.packs if pack not in listing.tombstones]
        catalog = read_catalog(backend, listing, hinted)
        places = catalog.locate(wanted, keys.holds)
        if len(places) < len(wanted) or not all(keys.holds(record.key) for _, record in places.values()):
            catalog = read_catalog(backend, complete(backend, read_listing(backend), manifest.packs))
            places = catalog.locate(wanted, keys.holds)
    except StorageError as error:
        raise StoreError(str(error)) from error
    except OSError as error:
        raise ArtifactError(f"artifact {manifest.generation} cannot be read: {error}") from error
    for digest in wanted - places.keys():
        why = "; ".join(sorted(catalog.damaged.values())[:3]) or "it is in no pack"
        raise ArtifactError(f"artifact {manifest.generation} is corrupt: chunk {digest.hex()[:16]}: {why}")
    for pack, record in places.values():
        keys.require(pack, record.key)
    return places, catalog.indexes


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count
