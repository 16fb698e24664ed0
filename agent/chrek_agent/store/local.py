"""A directory as a backend, such as a PVC. Objects are files; what is unfinished lies below `.staging` on the same file system."""

import ctypes
import os
import secrets
import shutil
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from chrek_agent.store.backend import Entry
from chrek_agent.store.chunking import Buffer
from chrek_agent.store.keys import check_key

STAGING: Final = ".staging"
PARTIAL: Final = ".partial"
"""End of the names of unfinished objects, among the captures' own directories."""

_WRITEBACK: Final = 16 << 20
_SYNC_FILE_RANGE_WRITE: Final = 2
_IOV_MAX: Final = 1024
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class DirectoryBackend:
    """Objects in a directory tree, open to root alone."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Writes aside, then links or renames."""
        writer = _FileWriter(self, key, if_absent=if_absent)
        try:
            writer.write(data)
            writer.close()
        finally:
            writer.abort()

    def writer(self, key: str) -> "_FileWriter":
        """Begins a large object."""
        return _FileWriter(self, key, if_absent=False)

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`."""
        descriptor = open_regular(self.path(key))
        try:
            pieces = []
            length = min(length, os.fstat(descriptor).st_size - offset)  # For Python allocates what is asked for.
            while length > 0 and (piece := os.pread(descriptor, length, offset)):
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        finally:
            os.close(descriptor)

    def read_into(self, key: str, offset: int, into: memoryview) -> int:
        """From the file."""
        descriptor = open_regular(self.path(key))
        try:
            return fill(descriptor, offset, into)
        finally:
            os.close(descriptor)

    def size(self, key: str) -> int:
        """Bytes of an object."""
        return self.path(key).lstat().st_size

    def list(self, prefix: str) -> list[Entry]:
        """Walks the deepest directory that the prefix names."""
        top = prefix.rpartition("/")[0]
        directory = self.path(top) if top else self.base
        found: list[Entry] = []
        _walk(directory, f"{top}/" if top else "", found)
        return sorted(entry for entry in found if entry.key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Deletes the file, and directories that it leaves empty."""
        path = self.path(key)
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            sync_directory(path.parent)
        with suppress(OSError):  # Others are in it.
            for parent in path.parents:
                if parent == self.base or not parent.is_relative_to(self.base):
                    break
                parent.rmdir()

    def local(self, key: str) -> Path | None:
        """The file itself."""
        return self.path(key)

    def prune(self, before: datetime) -> int:
        """Removes unfinished objects and captures that nobody has touched since."""
        return prune_directory(self.base / STAGING, before)

    def path(self, key: str) -> Path:
        """The file of an object; ValueError for what is no key."""
        check_key(key)
        return self.base / key

    def make_directory(self, path: Path) -> None:
        """Makes a directory of the store and its parents, for root alone; parents are synced so that it stays."""
        if path.is_dir():
            return
        if path != self.base:
            self.make_directory(path.parent)
            path.mkdir(mode=0o700, exist_ok=True)
            sync_directory(path.parent)
        else:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)


class _FileWriter:
    """Writes aside with early writeback, so that the last sync has little left to do."""

    def __init__(self, backend: DirectoryBackend, key: str, *, if_absent: bool) -> None:
        self._backend = backend
        self._target = backend.path(key)
        self._if_absent = if_absent
        staging = backend.base / STAGING
        backend.make_directory(staging)
        self._aside = staging / f"{processes.own_mark()}-{secrets.token_hex(8)}{PARTIAL}"
        self._descriptor = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._written = self._flushed = 0

    def write(self, *pieces: Buffer) -> None:
        """Appends the pieces."""
        views = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
        while views:
            count = os.writev(self._descriptor, views[:_IOV_MAX])
            self._written += count
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if count:
                views[0] = views[0][count:]
        if self._written - self._flushed >= _WRITEBACK:
            start_writeback(self._descriptor, self._flushed, self._written - self._flushed)
            self._flushed = self._written

    def close(self) -> None:
        """Syncs, and moves the file into place."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        self._publish()
        sync_directory(self._target.parent)

    def _publish(self) -> None:
        """A delete of the last neighbour may remove the directory just made, hence the second try."""
        for attempt in (1, 2, 3):
            self._backend.make_directory(self._target.parent)
            try:
                if self._if_absent:
                    os.link(self._aside, self._target)
                    self._aside.unlink()
                else:
                    self._aside.rename(self._target)
            except FileNotFoundError:
                if attempt == 3:
                    raise
            else:
                return

    def abort(self) -> None:
        """Removes what is not finished."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._aside.unlink(missing_ok=True)


def open_regular(path: Path) -> int:
    """A descriptor for reading; OSError for a link or a special file: an object is neither, and opening one could do harm."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is not a regular file")
    return descriptor


def fill(descriptor: int, offset: int, into: memoryview) -> int:
    """Reads a file from `offset` as far as it goes and there is room; returns how many bytes that were."""
    done = 0
    while done < len(into) and (count := os.preadv(descriptor, [into[done:]], offset + done)):
        done += count
    return done


def prune_directory(directory: Path, before: datetime) -> int:
    """Removes the entries that nobody has touched since; returns how many there were."""
    removed = 0
    for path in list(directory.iterdir()) if directory.is_dir() else ():
        if _last_change(path) < before:
            remove_tree(path)
            removed += 1
    return removed


def remove_tree(path: Path) -> None:
    """Removes a file or a directory with all that is in it, as far as that is possible."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _last_change(path: Path) -> datetime:
    """When a file, or anything in a directory, was last written."""
    times = [0.0]
    for each in (path, *(Path(parent, name) for parent, _, names in os.walk(path) for name in names)):
        with suppress(FileNotFoundError):
            times.append(each.lstat().st_mtime)
    return datetime.fromtimestamp(max(times), UTC)


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Has the kernel begin to write these bytes; what it cannot do now, the sync will."""
    _LIBC.sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _walk(directory: Path, prefix: str, found: list[Entry]) -> None:
    if directory.is_symlink():
        return
    try:
        children = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    for child in children:
        if child.name.startswith("."):
            continue
        if child.is_dir(follow_symlinks=False):
            _walk(Path(child.path), f"{prefix}{child.name}/", found)
            continue
        with suppress(FileNotFoundError):
            status = child.stat(follow_symlinks=False)
            found.append(Entry(f"{prefix}{child.name}", status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)))
