"""Taking an artifact out of a store, part by part."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Self

from chrek_agent.errors import ArtifactError
from chrek_agent.store.artifact import THREADS, Artifact
from chrek_agent.store.codec import as_stored
from chrek_agent.store.model import MANIFEST as MANIFEST_FILE
from chrek_agent.store.model import Blob, Manifest, Run, digest_manifest
from chrek_agent.store.reading import Chunk
from chrek_agent.store.store import Store
from chrek_agent.store.survey import MANIFEST_LIMIT
from chrek_agent.store.transfer.labels import to_part
from kubectl_chrek.api.artifact_file import END, MANIFEST, Head, Part, document

AHEAD: Final = 16
"""Chunks that are read before they are asked for."""


class Sending:
    """One artifact that is sent; a context manager. What leaves has been checked.

    Args:
        store: Where it is.
        identity_hash: Its hash.
        generation: Its generation.
        digest: That of its manifest.
        squeeze: Compress chunks where it pays.

    Raises:
        ArtifactError: It is not there, or not whole; by all methods.
    """

    def __init__(self, store: Store, identity_hash: str, generation: str, digest: str, *, squeeze: bool) -> None:
        self.artifact = store.open(identity_hash, generation, digest)
        self.manifest = store.backend.read(f"{identity_hash}/{generation}/{MANIFEST_FILE}", 0, MANIFEST_LIMIT)
        if digest_manifest(self.manifest) != digest:
            raise ArtifactError(f"artifact {generation} is being replaced")
        self._chunks = _ordered(self.artifact)
        self._squeeze = squeeze
        size = sum(chunk.record.dense for chunk in self._chunks)
        signature = store.signature(identity_hash, generation).hex()
        self.head = Head(identity_hash, generation, digest, len(self._chunks), size, signature)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.artifact.close()

    def parts(self, skip: int | None = None) -> Iterator[Part]:
        """The whole artifact or, to continue a file, what follows its first `skip` chunks."""
        if skip is None:
            yield self.head.part()
            yield document(MANIFEST, self.manifest)
        yield from self._read(self._chunks[skip or 0 :])
        yield document(END, b'{"chunks": %d}' % len(self._chunks))

    def chunks(self, wanted: Callable[[bytes], bool]) -> Iterator[Part]:
        """Those chunks alone whose digests are wanted."""
        return self._read([chunk for chunk in self._chunks if wanted(chunk.digest)])

    def _read(self, chunks: Iterable[Chunk]) -> Iterator[Part]:
        chunks = list(chunks)
        self.artifact.expect(chunks)
        pending: deque[Future[Part]] = deque()
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for chunk in chunks:
                    pending.append(pool.submit(self._part, chunk))
                    if len(pending) >= AHEAD:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _part(self, chunk: Chunk) -> Part:
        dense = self.artifact.fetch(chunk)
        self.artifact.check(chunk, dense)
        codec, pieces = as_stored([dense], squeeze=self._squeeze)
        return to_part(chunk.record, codec, memoryview(pieces[0]))


def order(manifest: Manifest) -> list[bytes]:
    """The digests of an artifact's chunks as they are sent."""
    lists = [*(blob.chunks for blob in manifest.files.values()), *(run.chunks for run in manifest.memory)]
    return [bytes.fromhex(name) for name in dict.fromkeys(name for names in lists for name in names) if name is not None]


def _ordered(artifact: Artifact) -> list[Chunk]:
    """Each chunk once, in the manifest's order."""
    manifest = artifact.manifest
    found: dict[bytes, Chunk] = {}
    contents: list[Blob | Run] = [*manifest.files.values(), *manifest.memory]
    for content in contents:
        for chunk in artifact.chunks(content):
            found.setdefault(chunk.digest, chunk)
    return list(found.values())
