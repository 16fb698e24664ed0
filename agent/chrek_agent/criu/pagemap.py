"""`pagemap-*.img`: which pages of a process or a shared memory object are in which pages image, or are yet to be read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.criu.images import PAGEMAP_MAGIC, read_image, write_image
from chrek_agent.criu.wire import VARINT, Field, ImageError, decode, encode, numbers

PAGE: Final = 4096
PARENT: Final = 1
LAZY: Final = 2
"""Private anonymous memory, neither locked nor on huge pages of hugetlbfs, and no page that a stack pointer is in."""
PRESENT: Final = 4
"""The pages are in the pages image, in the order of the entries."""

_TOP: Final = 1 << 57


@dataclass(frozen=True, slots=True)
class Entry:
    """A stretch of pages, in bytes; `start` is an address, or an offset in a shared memory object."""

    start: int
    length: int
    flags: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Pagemap:
    """One pagemap; its pages are in `pages-<pages>.img`."""

    pages: int
    entries: tuple[Entry, ...]


def read_pagemap(path: Path) -> Pagemap:
    """Reads a pagemap.

    Raises:
        ImageError: It is malformed, its entries overlap or are out of order, or it needs a parent image.
        OSError: It cannot be read.
    """
    head, *rest = read_image(path, PAGEMAP_MAGIC) or [b""]
    pages = numbers(decode(head)).get(1)
    if pages is None:
        raise ImageError(f"image {path.name} names no pages image")
    entries = tuple(_entry(message, path.name) for message in rest)
    last = 0
    for entry in entries:
        if entry.start < last:
            raise ImageError(f"image {path.name} is not in the order of addresses")
        last = entry.end
    return Pagemap(pages, entries)


def write_pagemap(path: Path, pagemap: Pagemap) -> None:
    """Replaces a pagemap. Raises OSError."""
    head = encode([Field(1, VARINT, pagemap.pages)])
    write_image(path, PAGEMAP_MAGIC, [head, *map(_message, pagemap.entries)])


def _entry(message: bytes, name: str) -> Entry:
    values = numbers(decode(message))
    count = values.get(5, values.get(2, 0))
    start, flags = values.get(1), values.get(4, PARENT if values.get(3) else PRESENT)
    if start is None or start % PAGE or not 0 < count <= _TOP // PAGE or start + count * PAGE > _TOP:
        raise ImageError(f"image {name} has an entry that no process can have")
    if flags & PARENT:
        raise ImageError(f"image {name} needs a parent image")
    return Entry(start, count * PAGE, flags)


def _message(entry: Entry) -> bytes:
    # Field 2 is the old, narrower count; it is required, and 0 beside the new one.
    values = ((1, entry.start), (2, 0), (4, entry.flags), (5, entry.length // PAGE))
    return encode(Field(number, VARINT, value) for number, value in values)
