"""Writing an artifact: content goes in by any thread, chunks that the store lacks go to packs, the manifest is the commit."""

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from chrek_agent.errors import ArtifactError
from chrek_agent.store import chunking
from chrek_agent.store.backend import Backend
from chrek_agent.store.buffers import Buffer, BufferPool
from chrek_agent.store.chunking import CHUNK, PAGE
from chrek_agent.store.codec import as_stored
from chrek_agent.store.deposit import Deposit
from chrek_agent.store.model import MANIFEST, Blob, Fields, Manifest, Run, Sizes, digest_manifest, dump_manifest, is_plain
from chrek_agent.store.protection import Protection
from chrek_agent.store.signing import SIGNATURE

WORKERS: Final = min(8, os.cpu_count() or 1)


class _Chunks:
    """The chunks of one run or file, collected in any order."""

    def __init__(self, store: Callable[[memoryview], bytes | None]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._found: dict[int, str | None] = {}
        self._next = self._bytes = 0
        self.size = 0

    def place(self, length: int, offset: int | None) -> int:
        """Reserves the place of a piece; returns its number. ValueError if it cannot be there."""
        with self._lock:
            offset = self._next if offset is None else offset
            number = offset // CHUNK
            if offset % CHUNK or not 0 < length <= CHUNK or number in self._found:
                raise ValueError(f"no piece of {length} bytes fits at {offset}")
            self._found[number] = None
            self._next = offset + CHUNK
            self._bytes += length
            self.size = max(self.size, offset + length)
            return number

    def put(self, number: int, data: memoryview) -> None:
        """Stores a piece in its place."""
        digest = self._store(data)
        if digest is not None:
            self._found[number] = digest.hex()

    def finish(self) -> list[str | None]:
        """All digests in order. ValueError if a piece is missing, or another than the last is short."""
        if len(self._found) != chunking.count(self.size) or self._bytes != self.size:
            raise ValueError("pieces are missing")
        return [self._found[number] for number in range(len(self._found))]


class RunWriter:
    """Writes one stretch of memory, in pieces of 2 MiB of which only the last may be shorter."""

    def __init__(self, artifact: "ArtifactWriter", chunks: _Chunks) -> None:
        self._artifact = artifact
        self._chunks = chunks
        self.closed = False

    def write(self, data: memoryview, offset: int | None = None) -> None:
        """Stores a piece in the calling thread; afterwards `data` may be reused.

        Args:
            data: The piece.
            offset: Its place in the run; None for the next. With an offset several threads may write in any order.

        Raises:
            ValueError: It is too long, or does not begin at a chunk that is still free.
            OSError: The store refused.
        """
        self._chunks.put(self._chunks.place(len(data), offset), data)

    def submit(self, buffer: Buffer, length: int, offset: int | None = None) -> None:
        """The same in the background: takes the buffer over and gives it back; what fails is raised by the commit."""
        self._artifact.submit(self._chunks, buffer, length, offset)

    def close(self) -> None:
        """To be called after the last piece; ValueError for an empty run or one that does not end with a page."""
        if not self._chunks.size or self._chunks.size % PAGE:
            raise ValueError(f"no run has {self._chunks.size} bytes")
        self.closed = True


class ArtifactWriter:
    """One capture's artifact under way. Leaving it without a commit abandons it.

    Args:
        backend: Where it goes.
        generation: Its name.
        staging: An empty directory of its own; removed at the end.
        compress: Compress chunks where it pays.
        protection: Keys to seal and to sign with.
    """

    def __init__(
        self, backend: Backend, generation: str, staging: Path, *, compress: bool = False, protection: Protection | None = None
    ) -> None:
        self.staging = staging
        self.seen_bytes = 0
        self._backend = backend
        self._generation = generation
        self._compress = compress
        self._protection = protection or Protection()
        self._deposit = Deposit(backend, self._protection.keys)
        self._runs: list[tuple[str, int, int, _Chunks, RunWriter]] = []
        self._files: dict[str, _Chunks] = {}
        self._buffers = BufferPool()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="store")
        self._lock = threading.Lock()
        self._pending: set[Future[None]] = set()
        self._failure: BaseException | None = None
        self._done = self._abandoned = False
        self._joined: list[ArtifactWriter] = []
        self._home: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.abandon()

    @property
    def stored_bytes(self) -> int:
        """Bytes added to the store so far."""
        return self._deposit.size

    def buffer(self) -> Buffer:
        """A buffer for `RunWriter.submit`; waits while too much is in flight."""
        return self._buffers.take()

    def add_run(self, kind: str, owner: int, start: int) -> RunWriter:
        """Begins a stretch of memory.

        Args:
            kind: What sort of memory; the reader must know it.
            owner: Its process or object.
            start: Its address, or its offset in the object.
        """
        chunks = _Chunks(self._store)
        run = RunWriter(self, chunks)
        with self._lock:
            self._runs.append((kind, owner, start, chunks, run))
        return run

    def add_file(self, path: str, source: Path) -> None:
        """Stores a file; it has been read when this returns.

        Args:
            path: Its path inside the artifact.
            source: Where it is now.

        Raises:
            ValueError: There is one already, or the path leads out.
            OSError: It cannot be read, or the store refused.
        """
        chunks = _Chunks(self._store)
        with self._lock:
            if path in self._files or not is_plain(path):
                raise ValueError(f"{path!r} cannot be added")
            self._files[path] = chunks
        with source.open("rb", buffering=0) as file:
            while True:
                buffer = self.buffer()
                length = _fill(file.readinto, buffer)
                if not length:
                    buffer.release()
                    return
                self.submit(chunks, buffer, length, None)

    def submit(self, chunks: _Chunks, buffer: Buffer, length: int, offset: int | None) -> None:
        """Has the pool store a piece."""
        try:
            self._raise_failure()
            future = self._pool.submit(self._work, chunks, chunks.place(length, offset), buffer, length)
        except BaseException:
            buffer.release()
            raise
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._finished)

    def join(self, other: "ArtifactWriter") -> None:
        """Has this commit commit another's runs too, all written; until then the other one is the caller's to abandon."""
        self._joined.append(other)

    def commit(self, fields: Fields) -> tuple[Manifest, str]:
        """Makes it an artifact, durably; returns the manifest and the digest of its bytes for the checkpoint's status.

        Raises:
            ArtifactError: A chunk that the store had is no longer there; the next capture will store it. Or it was abandoned.
            OSError: The store refused.
            ValueError: A run is not closed or has gaps.
        """
        self._wait()
        self._raise_failure()
        files = {path: Blob(size=chunks.size, chunks=chunks.finish()) for path, chunks in self._files.items()}
        memory = [self._finish_run(*run) for writer in (self, *self._joined) for run in writer._runs]
        deposits = [writer._deposit for writer in (self, *self._joined)]
        self._secure(deposits)
        logical = sum(item.size for item in files.values()) + sum(run.length for run in memory)
        manifest = Manifest(
            **dict(fields),
            generation=self._generation,
            files=files,
            memory=memory,
            packs=sorted(set().union(*(deposit.relied for deposit in deposits))),
            sizes=Sizes(logical=logical, stored=sum(deposit.size for deposit in deposits)),
        )
        content = dump_manifest(manifest)
        try:
            self._publish(f"{manifest.identity_hash}/{self._generation}/", content)
            # A sweep may have found one of the packs dead just before the manifest could be seen.
            self._secure(deposits)
            with self._lock:
                self._done = not self._abandoned
        finally:
            if self._abandoned:
                self._unpublish()
        if not self._done:
            raise ArtifactError(f"artifact {self._generation} was abandoned before it was committed")
        self._close()
        for writer in self._joined:
            writer._done = True
            writer._close()
        return manifest, digest_manifest(content)

    def _secure(self, deposits: list[Deposit]) -> None:
        for deposit in deposits:
            deposit.secure(self._pool)

    def abandon(self) -> None:
        """Leaves no artifact. Does nothing after a commit, or a second time; a commit under way in another thread fails."""
        with self._lock:
            if self._done or self._abandoned:
                return
            self._abandoned = True
        self._wait()
        self._unpublish()
        self._deposit.abandon()
        self._close()

    def _publish(self, home: str, content: bytes) -> None:
        """The signature comes after the manifest, so that none is left alone by a capture that dies."""
        self._home = home  # Set first: a write that fails may have been done all the same.
        try:
            self._backend.put(f"{home}{MANIFEST}", content, if_absent=True)
        except FileExistsError:
            self._home = None
            raise
        if self._protection.signing.signs:
            self._backend.put(f"{home}{SIGNATURE}", self._protection.signing.sign(content))

    def _unpublish(self) -> None:
        if self._home is None:
            return
        for name in (MANIFEST, SIGNATURE) if self._protection.signing.signs else (MANIFEST,):
            with suppress(OSError):
                self._backend.delete(f"{self._home}{name}")

    def _close(self) -> None:
        self._pool.shutdown()
        shutil.rmtree(self.staging, ignore_errors=True)

    def _finish_run(self, kind: str, owner: int, start: int, chunks: _Chunks, run: RunWriter) -> Run:
        if not run.closed:
            raise ValueError(f"the run at {start:#x} is not closed")
        return Run(kind=kind, owner=owner, start=start, length=chunks.size, chunks=chunks.finish())

    def _store(self, data: memoryview) -> bytes | None:
        with self._lock:
            self.seen_bytes += len(data)
        extents = chunking.extents(data)
        if not extents:
            return None
        digest = chunking.digest(len(data), [(0, data)])
        if self._deposit.claim(digest):
            codec, pieces = as_stored([data[start : start + length] for start, length in extents], squeeze=self._compress)
            self._deposit.append(digest, len(data), extents, codec, pieces)
        return digest

    def _work(self, chunks: _Chunks, number: int, buffer: Buffer, length: int) -> None:
        try:
            if self._failure is None:
                chunks.put(number, buffer.view[:length])
        finally:
            buffer.release()

    def _finished(self, future: Future[None]) -> None:
        with self._lock:
            self._pending.discard(future)
            self._failure = self._failure or future.exception()

    def _wait(self) -> None:
        """Until the pool is idle."""
        while True:
            with self._lock:
                pending = list(self._pending)
            if not pending:
                return
            for future in pending:
                future.exception()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _fill(readinto: Callable[[memoryview], int | None], buffer: Buffer) -> int:
    """Fills the buffer as far as the file goes; returns how far."""
    length = 0
    while length < CHUNK and (count := readinto(buffer.view[length:])):
        length += count
    return length
