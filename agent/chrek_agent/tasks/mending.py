"""Damaged chunks are fetched again: from this node's cache, from what else the store has, or from another store.

A pack in which damage was found is given up: what any artifact needs of it is stored anew in other packs, and the sweep deletes
it. What comes from elsewhere is believed by its digest alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.errors import AgentError, ArtifactError
from chrek_agent.store.codec import as_stored
from chrek_agent.store.model import MANIFEST, Blob, Manifest, Run, digest_manifest, parse_manifest
from chrek_agent.store.reading import DamagedPackError
from chrek_agent.store.store import Store
from chrek_agent.store.survey import MANIFEST_LIMIT, Stored, read_survey
from chrek_agent.store.transfer.labels import to_part
from chrek_agent.store.transfer.receiving import Receiving
from chrek_agent.store.where import connect, plain
from kubectl_chrek.api.artifact_file import Head, Part
from kubectl_chrek.api.errors import UsageError

ROUNDS: Final = 64
"""Packs of one artifact that are mended at most."""

Progress = Callable[[int, int], None]
Key = tuple[str, str, str]
"""Identity hash, generation and manifest's digest: what names an artifact."""


@dataclass(frozen=True, slots=True)
class Mended:
    """What was stored anew: chunks, their bytes, and how many packs were given up."""

    chunks: int = 0
    bytes: int = 0
    packs: int = 0


@dataclass(frozen=True, slots=True)
class Mender:
    """Mends artifacts of one store; `places` are the other stores that it may fetch from."""

    store: Store
    places: Sequence[str]
    scratch: Path

    def __call__(self, key: Key, wanted: Sequence[str], progress: Progress) -> Mended:
        """Mends an artifact from the places that are wanted, or from all.

        Raises:
            UsageError: One that is wanted is none of ours: who may write to a checkpoint must not choose what an agent reads.
        """
        known = {plain(place): place for place in self.places}
        for name in wanted:
            if plain(name) not in known:
                hint = f"agents may read for repairs: {', '.join(known) or 'nothing'}; give them --repair-from"
                raise UsageError(f"{plain(name)} is no store that agents may read for repairs ({hint})")
        chosen = [known[plain(name)] for name in wanted or known]
        protection = self.store.protection
        return mend(self.store, key, [Store(connect(place), self.scratch, protection=protection) for place in chosen], progress)


def mend(store: Store, key: Key, sources: Sequence[Store], progress: Progress | None = None) -> Mended:
    """Verifies an artifact, and mends what is found damaged until nothing is.

    Args:
        store: Where it is; its cache is a source too.
        key: Which artifact.
        sources: Other stores to fetch from, the first one first. One that does not answer is passed over.
        progress: Told what the verification has read.

    Raises:
        ArtifactError: Something is damaged that nobody else has.
        StoreError: The store itself does not answer.
    """
    done = Mended()
    for _ in range(ROUNDS):
        try:
            store.verify(*key, progress)
        except DamagedPackError as error:
            done = _again(done, store, key, sources, error, error.pack)
        except ArtifactError as error:
            done = _again(done, store, key, sources, error, "")
        else:
            return done
    raise ArtifactError(f"artifact {key[1]} is damaged in more than {ROUNDS} packs")


def _again(done: Mended, store: Store, key: Key, sources: Sequence[Store], error: ArtifactError, pack: str) -> Mended:
    """One round. Raises the error itself if nothing could be done about it."""
    manifest, content = _manifest(store, key, sources, error)
    fresh = _restore_manifest(store, key, content)
    others = _sharing(store, key, pack)
    received = _fill(store, key, manifest, content, sources, error)
    for other in others:
        with suppress(AgentError):  # It is as damaged as before, and its own verification will say so.
            found, text = _manifest(store, other, sources, error)
            _fill(store, other, found, text, sources, error)
    if not received.chunks and not fresh:
        raise error
    return Mended(done.chunks + received.chunks, done.bytes + received.bytes, done.packs + bool(pack))


def _manifest(store: Store, key: Key, sources: Sequence[Store], error: ArtifactError) -> tuple[Manifest, bytes]:
    """The manifest that the digest names, wherever it is found."""
    for place in (store, *sources):
        with suppress(AgentError, OSError):
            content = place.backend.read(_path(key), 0, MANIFEST_LIMIT)
            if digest_manifest(content) == key[2]:
                return parse_manifest(key[1], content), content
    raise error


def _restore_manifest(store: Store, key: Key, content: bytes) -> bool:
    """Puts the manifest back where it was; whether it was not there."""
    with suppress(FileNotFoundError):
        if store.backend.read(_path(key), 0, MANIFEST_LIMIT) == content:
            return False
    store.backend.put(_path(key), content)
    return True


def _fill(store: Store, key: Key, manifest: Manifest, content: bytes, sources: Sequence[Store], error: ArtifactError) -> Mended:
    """Stores anew what an artifact needs and no pack that stays has. Raises ArtifactError: not all of it was found."""
    head = Head(*key, len(manifest.digests()), manifest.size, store.signature(*key[:2]).hex())
    with Receiving(store, head, content) as receiving:
        for place in (store, *sources):
            for part in _parts(place, key, manifest, receiving.lacks):
                receiving.add(part)
        try:
            found = receiving.finish()
        except ArtifactError as missing:
            raise ArtifactError(f"{error}; nobody else has it: {missing}") from error
    return Mended(found.chunks, found.bytes)


def _parts(place: Store, key: Key, manifest: Manifest, lacks: Callable[[bytes], bool]) -> Iterator[Part]:
    """The chunks that are lacking, of those that a store has whole: by way of the node's cache, if it has one."""
    contents: list[Blob | Run] = [*manifest.files.values(), *manifest.memory]
    with suppress(AgentError, OSError), place.open(*key) as artifact:
        for content in contents:
            for chunk in artifact.chunks(content):
                if lacks(chunk.digest):
                    with suppress(AgentError, OSError):
                        dense = artifact.fetch(chunk)
                        artifact.check(chunk, dense)
                        codec, pieces = as_stored([dense], squeeze=place.compress)
                        yield to_part(chunk.record, codec, memoryview(pieces[0]))


def _sharing(store: Store, key: Key, pack: str) -> Iterable[Key]:
    """Other artifacts that need something of a damaged pack: while they do, it would not go."""
    if not pack:
        return []
    survey = read_survey(store.backend)
    index = survey.catalog.indexes.get(pack)
    held = index.records.keys() if index else set()
    return [_key(store, found) for found in survey.artifacts if found.generation != key[1] and found.digests & held]


def _key(store: Store, found: Stored) -> Key:
    path = f"{found.identity_hash}/{found.generation}/{MANIFEST}"
    return found.identity_hash, found.generation, digest_manifest(store.backend.read(path, 0, MANIFEST_LIMIT))


def _path(key: Key) -> str:
    return f"{key[0]}/{key[1]}/{MANIFEST}"
