"""The store: artifacts made of chunks in packs that they share. See `docs/architecture.md` for where things lie."""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from chrek_agent.errors import ArtifactError, KeyMissingError, SignatureError, StoreError
from chrek_agent.store.ahead import Ahead
from chrek_agent.store.artifact import Artifact, Progress
from chrek_agent.store.backend import Backend
from chrek_agent.store.cached import CachedBackend, PieceCache
from chrek_agent.store.local import STAGING, DirectoryBackend, prune_directory, remove_tree
from chrek_agent.store.model import MANIFEST, Manifest, digest_manifest, dump_manifest, parse_manifest
from chrek_agent.store.protection import Protection
from chrek_agent.store.reading import DamagedPackError
from chrek_agent.store.refusals import StorageError
from chrek_agent.store.repack import BELOW, Repacked, repack
from chrek_agent.store.signing import SIGNATURE, SIGNATURE_BYTES
from chrek_agent.store.survey import MANIFEST_LIMIT, manifest_keys, read_survey
from chrek_agent.store.sweep import GRACE, Swept, bury, sweep
from chrek_agent.store.usage import Usage, measure
from chrek_agent.store.writer import ArtifactWriter


def new_generation(now: datetime) -> str:
    """A name for the next generation: sorts by time, unique across nodes."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


class Store:
    """One store. All methods block; OSError means that the place refused.

    Args:
        backend: The place.
        scratch: Where captures keep small files while they are under way; local, and this store's own.
        compress: Compress chunks where it pays.
        cache: What restores read is kept there; all else, such as verifying, goes to the place itself.
        protection: Keys to seal and to sign with.
    """

    def __init__(
        self,
        backend: Backend,
        scratch: Path,
        *,
        compress: bool = False,
        cache: PieceCache | None = None,
        protection: Protection | None = None,
    ) -> None:
        self.backend = backend
        self.protection = protection or Protection()
        self.cache = cache
        self.scratch = scratch
        self.compress = compress

    @classmethod
    def at(cls, base: Path, *, compress: bool = False) -> Self:
        """A store in a directory."""
        return cls(DirectoryBackend(base), base / STAGING, compress=compress)

    def begin(self, generation: str, *, compress: bool = True) -> ArtifactWriter:
        """Begins an artifact; reads what the store has, so that nothing is stored twice. Compresses if the store does, or not."""
        staging = self.scratch / _element(generation)
        for parent in (self.scratch.parent, self.scratch):  # `parents=True` would leave them open to all.
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging.mkdir(mode=0o700)
        try:
            squeeze = self.compress and compress
            return ArtifactWriter(self.backend, generation, staging, compress=squeeze, protection=self.protection)
        except BaseException:
            remove_tree(staging)
            raise

    def discard_staging(self, generation: str) -> None:
        """Removes what a capture left that died."""
        remove_tree(self.scratch / _element(generation))

    def open(self, identity_hash: str, generation: str, digest: str) -> Artifact:
        """An artifact; its manifest is checked and its chunks are located, their content is not read.

        Raises:
            ArtifactError: There is no such artifact, its manifest is not the one that was committed, or chunks are missing.
            StoreError: The store cannot be reached.
            KeyMissingError: It is sealed with a key that is not here.
            SignatureError: A signature is required, and there is none that we trust.
        """
        ahead = Ahead(self.backend)
        backend = ahead if self.cache is None else CachedBackend(ahead, self.cache)
        return self._open(backend, identity_hash, generation, digest, signed=True)

    def _open(self, backend: Backend, identity_hash: str, generation: str, digest: str, *, signed: bool = False) -> Artifact:
        content = self._read(_key(identity_hash, generation))
        if digest_manifest(content) != digest:
            raise ArtifactError(f"artifact {generation} is corrupt: its manifest is not the one that was committed")
        manifest = parse_manifest(generation, content)
        if manifest.identity_hash != identity_hash:
            raise ArtifactError(f"artifact {generation} is corrupt: its manifest is not the one that was committed")
        if signed and self.protection.signing.required:
            self.protection.signing.enforce(f"artifact {generation}", content, self.signature(identity_hash, generation))
        return Artifact(backend, manifest, self.protection.keys)

    def verify(self, identity_hash: str, generation: str, digest: str, progress: Progress | None = None) -> Manifest:
        """Reads the whole artifact back.

        Whether it is signed says `signer`. A pack that is found damaged gets a tombstone: the next capture will not rely on it, and
        stores its chunks anew.

        Raises:
            ArtifactError: Something is not what was captured.
        """
        with self._open(Ahead(self.backend), identity_hash, generation, digest) as artifact:
            try:
                artifact.verify(progress)
            except DamagedPackError as error:
                with suppress(OSError):
                    bury(self.backend, error.pack, datetime.now(UTC))
                raise
            return artifact.manifest

    def publish(self, manifest: Manifest, *, like: str) -> None:
        """Makes an artifact of chunks that are there already, and signs it if the generation `like` is signed by whom we trust.

        Raises:
            FileExistsError: There is one of this name.
            SignatureError: A signature is required, and there is no key to make one with.
        """
        content, signing = dump_manifest(manifest), self.protection.signing
        if signing.required and not signing.signs:
            raise SignatureError("what changes hands has to be signed anew, and there is no key to sign with")
        signed = signing.signs and self._is_signed(manifest.identity_hash, like)
        self.backend.put(_key(manifest.identity_hash, manifest.generation), content, if_absent=True)
        if signed:
            self._put_signature(manifest.identity_hash, manifest.generation, content)

    def _is_signed(self, identity_hash: str, generation: str) -> bool:
        try:
            return bool(self.signer(identity_hash, generation))
        except SignatureError:
            return False

    def sign(self, identity_hash: str, generation: str, digest: str) -> str:
        """Signs an artifact that was captured elsewhere, or before there was a key; returns the key's fingerprint.

        Raises:
            ArtifactError: There is no such artifact, or its manifest is not the one that was meant.
            SignatureError: There is no key to sign with.
        """
        content = self._read(_key(identity_hash, generation))
        if digest_manifest(content) != digest:
            raise ArtifactError(f"artifact {generation} is corrupt: its manifest is not the one that was committed")
        if not self.protection.signing.signs:
            raise SignatureError("there is no key to sign with", hint="name a file with one in CHREK_SIGNING_KEY")
        self._put_signature(identity_hash, generation, content)
        return self.signer(identity_hash, generation)

    def signer(self, identity_hash: str, generation: str) -> str:
        """The fingerprint of the trusted key that an artifact is signed with; SignatureError if it is not, or ArtifactError."""
        content, signature = self._read(_key(identity_hash, generation)), self.signature(identity_hash, generation)
        return self.protection.signing.signer(f"artifact {generation}", content, signature)

    def signature(self, identity_hash: str, generation: str) -> bytes:
        """The signature beside a manifest, not checked; empty if there is none. Raises StoreError."""
        try:
            return self.backend.read(_key(identity_hash, generation, SIGNATURE), 0, SIGNATURE_BYTES + 1)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StoreError(f"the signature of artifact {generation} cannot be read: {error.strerror or error}") from error

    def _put_signature(self, identity_hash: str, generation: str, content: bytes) -> None:
        self.backend.put(_key(identity_hash, generation, SIGNATURE), self.protection.signing.sign(content))

    def find(self, identity_hash: str, owner_uid: str) -> list[Manifest]:
        """The artifacts of one checkpoint, oldest first; damaged ones are passed over."""
        return [manifest for manifest in self._manifests(identity_hash) if manifest.owner.uid == owner_uid]

    def belongs(self, identity_hash: str, generation: str, owner_uid: str) -> bool:
        """False when the generation's manifest names another owner; a damaged one belongs to whoever says so."""
        key = _key(identity_hash, generation)
        try:
            manifest = parse_manifest(generation, self._read(key))
        except ArtifactError:
            return True
        return manifest.owner.uid == owner_uid

    def delete(self, identity_hash: str, generations: set[str]) -> int:
        """Deletes the named generations; returns how many there were. Their chunks go with a later sweep."""
        prefixes = [f"{_element(identity_hash)}/{_element(generation)}/" for generation in generations]
        count = 0
        for prefix in prefixes:
            keys = [entry.key for entry in self.backend.list(prefix)]
            count += f"{prefix}{MANIFEST}" in keys
            # The manifest first: an artifact is never seen half deleted.
            for key in sorted(keys, key=lambda key: key != f"{prefix}{MANIFEST}"):
                self.backend.delete(key)
        return count

    def usage(self) -> Usage:
        """Who uses how much."""
        return measure(read_survey(self.backend), self.cache)

    def sweep(self, now: datetime, grace: timedelta = GRACE) -> Swept:
        """Deletes what no artifact needs; see `sweep.py`. Removes what dead captures left on this machine too."""
        swept = sweep(self.backend, now, grace)
        prune_directory(self.scratch, now - grace)
        return swept

    def repack(self, now: datetime, grace: timedelta = GRACE, below: float = BELOW) -> Repacked:
        """Copies what is left of mostly dead packs together."""
        return repack(self.backend, now, grace, below, self.protection.keys)

    def reseal(self, now: datetime, grace: timedelta = GRACE) -> Repacked:
        """Copies what is under former keys, or lies open, into packs under the current one; a sweep deletes the others later.

        Raises:
            KeyMissingError: There is no current key.
        """
        if not self.protection.keys.current:
            raise KeyMissingError("there is no key to seal with", hint="name one in CHREK_ENCRYPTION_KEYS")
        return repack(self.backend, now, grace, 0.0, self.protection.keys, reseal=True)

    def _manifests(self, identity_hash: str) -> Iterator[Manifest]:
        for key in manifest_keys(self.backend, f"{_element(identity_hash)}/"):
            with suppress(ArtifactError):
                yield parse_manifest(key.split("/")[1], self._read(key))

    def _read(self, key: str) -> bytes:
        try:
            return self.backend.read(key, 0, MANIFEST_LIMIT)
        except StorageError as error:
            raise StoreError(str(error)) from error
        except OSError as error:
            raise ArtifactError(f"artifact {key.split('/')[1]} has no manifest: {error.strerror or error}") from error


def _key(identity_hash: str, generation: str, name: str = MANIFEST) -> str:
    return f"{_element(identity_hash)}/{_element(generation)}/{name}"


def _element(name: str) -> str:
    """`name`, if it is one plain path element: both halves of an artifact's path come from objects that users can edit."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ArtifactError(f"{name!r} names no artifact")
    return name
