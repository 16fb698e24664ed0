"""What a store needs of the place that holds its bytes: a directory, a bucket, a registry.

Keys are `a/b/c`; no element is empty or begins with a dot. A missing key is a FileNotFoundError, anything else that the place
refuses another OSError. All methods block and may be called from several threads.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from chrek_agent.store.chunking import Buffer


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One object; `size` in bytes, `modified` by the clock of the place."""

    key: str
    size: int
    modified: datetime


Wanted = tuple[str, int, int]
"""A piece of an object: its key, offset and length."""


class Writer(Protocol):
    """An object being written, front to back, by one thread at a time. Until it is closed nobody sees it."""

    def write(self, *pieces: Buffer) -> None:
        """Appends the pieces; they may be reused when it returns."""

    def close(self) -> None:
        """Makes the object visible, whole and durable."""

    def abort(self) -> None:
        """Leaves nothing behind. Does nothing after `close`."""


class Backend(Protocol):
    """One place."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Writes a small object, all at once and durably; with `if_absent`, FileExistsError if there is one."""

    def writer(self, key: str) -> Writer:
        """Begins a large object."""
        ...

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`: fewer only where the object ends."""
        ...

    def read_into(self, key: str, offset: int, into: memoryview) -> int:
        """The same, as many bytes as there is room for in `into`; returns how many there were."""
        ...

    def size(self, key: str) -> int:
        """Bytes of an object."""
        ...

    def list(self, prefix: str) -> list[Entry]:
        """All objects whose keys begin with the prefix, sorted by key."""
        ...

    def delete(self, key: str) -> None:
        """Deletes an object if it is there."""

    def local(self, key: str) -> Path | None:
        """A file with the object's content that can be mapped or read directly; None where there is none."""
        ...

    def prune(self, before: datetime) -> int:
        """Removes what writers begun before this time have left unfinished; returns how many there were."""
        ...
