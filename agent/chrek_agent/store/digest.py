"""Digests of files: BLAKE3, several files at once, each by memory map."""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3

from chrek_agent.errors import ArtifactError
from chrek_agent.store.manifest import MANIFEST, FileEntry, Manifest

_SMALL = 1 << 20


def digest_bytes(content: bytes) -> str:
    """SHA-256, hex: what a checkpoint's status holds of its manifest."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> FileEntry:
    """Size and digest of one file; raises OSError."""
    size = path.stat().st_size
    hasher = blake3(max_threads=blake3.AUTO if size > _SMALL else 1)
    if size > _SMALL:
        hasher.update_mmap(path)
    else:
        hasher.update(path.read_bytes())
    return FileEntry(size=size, digest=hasher.hexdigest())


def list_files(directory: Path) -> list[str]:
    """Paths of all files below, relative, sorted.

    Raises:
        ArtifactError: There is a link or a special file: an artifact holds none, and following or opening one could do harm.
    """
    found = []
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(str(path.relative_to(directory)))
            elif not stat.S_ISDIR(mode):
                raise ArtifactError(f"artifact {directory.name} is corrupt: {path.relative_to(directory)} is not a regular file")
    return sorted(found)


def digest_tree(directory: Path) -> dict[str, FileEntry]:
    """Size and digest of every file below; raises OSError, or ArtifactError as `list_files`."""
    paths = list_files(directory)
    with ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(lambda path: digest_file(directory / path), paths), strict=True))


def verify_tree(directory: Path, manifest: Manifest) -> None:
    """Compares every byte below with the manifest.

    Raises:
        ArtifactError: A file is missing, was added, or is not what was captured; the message names one.
    """
    try:
        _compare(directory, manifest)
    except OSError as error:
        raise ArtifactError(f"artifact {manifest.generation} cannot be read: {error}") from error


def _compare(directory: Path, manifest: Manifest) -> None:
    present = set(list_files(directory)) - {MANIFEST}
    for path in sorted(manifest.files.keys() - present):
        raise ArtifactError(f"artifact {manifest.generation} is corrupt: {path} is missing")
    for path in sorted(present - manifest.files.keys()):
        raise ArtifactError(f"artifact {manifest.generation} is corrupt: {path} does not belong to it")
    for path, entry in manifest.files.items():
        size = (directory / path).lstat().st_size
        if size != entry.size:
            raise ArtifactError(f"artifact {manifest.generation} is corrupt: {path} has {size} bytes, not {entry.size}")

    def check(path: str) -> None:
        if digest_file(directory / path) != manifest.files[path]:
            raise ArtifactError(f"artifact {manifest.generation} is corrupt: the content of {path} has changed")

    with ThreadPoolExecutor() as pool:
        list(pool.map(check, manifest.files))
