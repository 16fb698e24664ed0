"""Putting an artifact into a store, part by part: what is there already is not stored again, and nothing is believed unchecked.

Until all of it is there no manifest is; what has come stays for the next attempt, until a sweep finds it unused.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from chrek_agent.errors import ArtifactError
from chrek_agent.store.deposit import Deposit
from chrek_agent.store.model import MANIFEST as MANIFEST_FILE
from chrek_agent.store.model import Manifest, digest_manifest, parse_manifest
from chrek_agent.store.pack import PACK_BYTES
from chrek_agent.store.signing import SIGNATURE, SIGNATURE_BYTES
from chrek_agent.store.store import Store
from chrek_agent.store.survey import MANIFEST_LIMIT
from chrek_agent.store.transfer.labels import checked, named
from chrek_agent.store.writer import WORKERS
from kubectl_chrek.api.artifact_file import CHUNK, END, MANIFEST, OBJECT, Head, Part, read_head

AT_ONCE: Final = 32
"""Chunks in flight: 64 MiB at most."""

Progress = Callable[[int, int], None]
"""Told chunks done and chunks in all."""


@dataclass(frozen=True, slots=True)
class Received:
    """An artifact that is in the store now. `fresh`: it was not before. The rest is what had to be added for it."""

    manifest: Manifest
    digest: str
    fresh: bool
    chunks: int
    bytes: int


class Receiving:
    """One artifact that comes in; a context manager: left before `finish`, it keeps what has come and leaves no artifact.

    Args:
        store: Where to.
        head: Which it is.
        content: Its manifest, byte for byte.

    Raises:
        ArtifactError: The manifest is not the one that the head names, or the store has another of this name.
        SignatureError: A signature is required, and it has none that we trust.
        OSError: The store refused; by all methods.
    """

    def __init__(self, store: Store, head: Head, content: bytes) -> None:
        if digest_manifest(content) != head.digest:
            raise ArtifactError("the file is damaged: its manifest is not the one that its head names")
        self.manifest = parse_manifest(head.generation, content)
        if self.manifest.identity_hash != head.identity_hash:
            raise ArtifactError("the file is damaged: its manifest is another artifact's")
        self._signature = _signature(head)
        store.protection.signing.enforce(f"artifact {head.generation}", content, self._signature)
        self._store, self._content, self._head = store, content, head
        self._key = f"{head.identity_hash}/{head.generation}/{MANIFEST_FILE}"
        self._fresh = not self._is_there()
        self._deposit = Deposit(store.backend, store.protection.keys)
        self._lacking = {digest for digest in self.manifest.digests() if self._deposit.claim(digest)}
        self.expected = len(self._lacking)
        """Chunks that the store lacked when it was made."""
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="receive")
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._pending: set[Future[None]] = set()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._unkept = 0
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if not self._done:
                with suppress(OSError):
                    self._keep()
                self._deposit.abandon()
        finally:
            self._pool.shutdown()

    def lacks(self, digest: bytes) -> bool:
        """The store has no such chunk yet, and needs it."""
        return digest in self._lacking

    def add(self, part: Part) -> None:
        """Stores a chunk, if the store lacks it. Raises ArtifactError: it, or one before it, is not what its name says."""
        self._raise_failure()
        digest = named(part)
        if digest not in self._lacking:
            return
        self._lacking.discard(digest)
        self._slots.acquire()
        future = self._pool.submit(self._work, part)
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._finished)
        self._unkept += part.size
        if self._unkept >= PACK_BYTES:
            self._keep()

    def finish(self) -> Received:
        """Makes it an artifact. Raises ArtifactError: chunks are missing."""
        self._wait()
        self._raise_failure()
        if self._lacking:
            missing = f"{len(self._lacking)} of {self._head.chunks} chunks are missing"
            raise ArtifactError(f"artifact {self._head.generation} is not whole: {missing}", hint="import the whole file again")
        self._deposit.secure(self._pool)
        published = self._publish()
        try:
            # A sweep may have found one of the packs dead just before the manifest could be seen.
            self._deposit.secure(self._pool)
        except BaseException:
            if published:
                self._store.delete(self._head.identity_hash, {self._head.generation})
            raise
        self._done = True
        return Received(self.manifest, self._head.digest, self._fresh, self.expected, self._deposit.size)

    def _publish(self) -> bool:
        """True if the manifest was not there."""
        try:
            self._store.backend.put(self._key, self._content, if_absent=True)
        except FileExistsError:
            self._is_there()
            fresh = False
        else:
            fresh = True
        if self._signature:
            with suppress(FileExistsError):  # Somebody has signed it here.
                self._store.backend.put(self._key.replace(MANIFEST_FILE, SIGNATURE), self._signature, if_absent=True)
        return fresh

    def _is_there(self) -> bool:
        """The store has this very manifest; ArtifactError if it has another of the same name."""
        try:
            found = self._store.backend.read(self._key, 0, MANIFEST_LIMIT)
        except FileNotFoundError:
            return False
        if found != self._content:
            raise ArtifactError(f"the store has another artifact {self._head.identity_hash}/{self._head.generation}")
        return True

    def _work(self, part: Part) -> None:
        record = checked(part)
        self._deposit.append(record.digest, record.length, record.extents, record.codec, [part.content])

    def _finished(self, future: Future[None]) -> None:
        with self._lock:
            self._pending.discard(future)
            self._failure = self._failure or future.exception()
        self._slots.release()

    def _keep(self) -> None:
        """What has come so far is there for the next attempt too."""
        self._wait()
        self._deposit.keep(self._pool)
        self._unkept = 0

    def _wait(self) -> None:
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


def _signature(head: Head) -> bytes:
    try:
        found = bytes.fromhex(head.signature)
    except ValueError:
        found = b"?"
    if len(found) not in (0, SIGNATURE_BYTES):
        raise ArtifactError("the file is damaged: its signature is none")
    return found


def opening(parts: Iterator[Part]) -> tuple[Head, bytes]:
    """The head and the manifest with which a file begins; raises ArtifactError if it does not."""
    head = read_head(next(parts))
    for part in parts:
        if part.kind == MANIFEST:
            return head, bytes(part.content)
        if part.kind != OBJECT:
            break
    raise ArtifactError("the file is damaged: it does not begin with a manifest")


def receive(store: Store, parts: Iterator[Part], progress: Progress | None = None) -> Received:
    """Puts the artifact that these parts are into the store.

    Raises:
        ArtifactError: It is damaged or not whole; then there is no artifact, but what was good of it need not be sent again.
        ArtifactFileError: The same.
        OSError: The store refused.
    """
    head, content = opening(parts)
    done = 0
    with Receiving(store, head, content) as receiving:
        for part in parts:
            if part.kind == CHUNK:
                receiving.add(part)
                done += 1
                if progress is not None:
                    progress(done, head.chunks)
            elif part.kind != END:
                raise ArtifactError("the file is damaged: its parts are out of order")
        return receiving.finish()
