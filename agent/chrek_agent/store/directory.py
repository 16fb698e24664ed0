"""Artifacts in a directory, such as a PVC: `<base>/<hash>/<generation>/`.

A capture is written below `.staging` on the same file system; the rename into place is the commit, and there is no other state.
"""

import os
import secrets
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from chrek_agent.errors import ArtifactError
from chrek_agent.store.digest import digest_bytes, list_files, verify_tree
from chrek_agent.store.manifest import IMAGES, MANIFEST, Manifest, read_manifest

STAGING: Final = ".staging"
TRASH: Final = ".trash"


def new_generation(now: datetime) -> str:
    """A name for the next generation: sorts by time, unique across nodes."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


class DirectoryStore:
    """One store. All methods block; OSError means the file system refused."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def stage(self, generation: str) -> Path:
        """A new empty directory for a capture, readable by root alone: it will hold a process's memory."""
        path = self.base / STAGING / generation
        for parent in (self.base, path.parent):  # `parents=True` would leave them open to all.
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        (path / IMAGES).mkdir(mode=0o700)
        return path

    def commit(self, staging: Path, manifest: Manifest) -> str:
        """Makes a staged capture an artifact, durably; returns the digest of its manifest for the checkpoint's status."""
        content = manifest.model_dump_json(indent=1).encode()
        (staging / MANIFEST).write_bytes(content)
        for path in list_files(staging):
            _sync(staging / path)
        for parent, _, _ in os.walk(staging, topdown=False):
            _sync(Path(parent))
        home = self.base / manifest.identity_hash
        home.mkdir(mode=0o700, exist_ok=True)
        staging.rename(home / manifest.generation)
        _sync(home)
        _sync(self.base)
        return digest_bytes(content)

    def discard(self, staging: Path) -> None:
        """Removes a capture that will not be committed."""
        shutil.rmtree(staging, ignore_errors=True)

    def open(self, identity_hash: str, generation: str, digest: str) -> tuple[Path, Manifest]:
        """The directory and manifest of an artifact; the manifest is checked, the files are not.

        Raises:
            ArtifactError: There is no such artifact, or its manifest is not the one that was committed.
        """
        directory = self.base / _element(identity_hash) / _element(generation)
        manifest, content = read_manifest(directory)
        if digest_bytes(content) != digest or manifest.generation != generation or manifest.identity_hash != identity_hash:
            raise ArtifactError(f"artifact {generation} is corrupt: its manifest is not the one that was committed")
        return directory, manifest

    def verify(self, identity_hash: str, generation: str, digest: str) -> Manifest:
        """Reads the whole artifact back. Raises ArtifactError."""
        directory, manifest = self.open(identity_hash, generation, digest)
        verify_tree(directory, manifest)
        return manifest

    def find(self, identity_hash: str, owner_uid: str) -> list[Manifest]:
        """The artifacts of one checkpoint, oldest first; damaged ones are passed over."""
        found = []
        for directory in self._generations(identity_hash):
            try:
                manifest, _ = read_manifest(directory)
            except ArtifactError:
                continue
            if manifest.owner.uid == owner_uid:
                found.append(manifest)
        return found

    def delete(self, identity_hash: str, generations: set[str]) -> int:
        """Deletes the named generations; returns how many there were.

        Each is first renamed away, so that none is ever seen half deleted.
        """
        count = 0
        for generation in generations:
            directory = self.base / _element(identity_hash) / _element(generation)
            if directory.is_dir():
                trash = self.base / TRASH
                trash.mkdir(mode=0o700, exist_ok=True)
                moved = trash / f"{generation}-{secrets.token_hex(4)}"
                with suppress(FileNotFoundError):  # Another agent was first.
                    directory.rename(moved)
                    count += 1
                shutil.rmtree(moved, ignore_errors=True)
        with suppress(OSError):  # Other generations are in it.
            (self.base / _element(identity_hash)).rmdir()
        return count

    def belongs(self, identity_hash: str, generation: str, owner_uid: str) -> bool:
        """False when the generation's manifest names another owner; a damaged one belongs to whoever says so."""
        directory = self.base / _element(identity_hash) / _element(generation)
        try:
            manifest, _ = read_manifest(directory)
        except ArtifactError:
            return True
        return manifest.owner.uid == owner_uid

    def _generations(self, identity_hash: str) -> list[Path]:
        home = self.base / _element(identity_hash)
        return sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []


def _element(name: str) -> str:
    """`name`, if it is one plain path element: both halves of an artifact's path come from objects that users can edit."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ArtifactError(f"{name!r} names no artifact")
    return name


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
