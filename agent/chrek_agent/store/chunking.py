"""Chunks: fixed pieces of 2 MiB, cut from the start of each run or file, named by the digest of their full content.

Pages of zeros are never stored. A chunk without any other page has no digest; of any other, a bitmap says which pages are stored.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from blake3 import blake3

PAGE: Final = 4096
CHUNK: Final = 2 << 20
PAGES: Final = CHUNK // PAGE

Buffer = bytes | bytearray | memoryview
Extent = tuple[int, int]
"""Offset and length in bytes, in a chunk."""

_ZERO: Final = bytes(CHUNK)
_WORDS: Final = PAGE // 8


def lengths(size: int) -> Iterator[int]:
    """The lengths of the chunks that `size` bytes are cut into: all full but the last."""
    for offset in range(0, size, CHUNK):
        yield min(CHUNK, size - offset)


def count(size: int) -> int:
    """How many chunks `size` bytes are cut into."""
    return -(-size // CHUNK)


def extents(data: memoryview) -> list[Extent]:
    """The stretches of a chunk that are not zero, in whole pages; the last may end with the chunk.

    Only pages that begin with a zero word are compared in full: of memory with content that is next to none.
    """
    if _ZERO.startswith(data):
        return []
    whole = len(data) - len(data) % PAGE
    heads = data[:whole].cast("Q")[::_WORDS].tolist()
    if 0 not in heads and whole == len(data):
        return [(0, whole)]  # Weights are never anything else, and a loop holds up all other threads.
    found: list[Extent] = []
    start = 0
    for page, head in enumerate(heads):
        offset = page * PAGE
        if head == 0 and _ZERO.startswith(data[offset : offset + PAGE]):
            if offset > start:
                found.append((start, offset - start))
            start = offset + PAGE
    end = len(data)
    if end > whole and _ZERO.startswith(data[whole:]):
        end = whole
    if end > start:
        found.append((start, end - start))
    return found


def digest(length: int, pieces: list[tuple[int, memoryview]]) -> bytes:
    """BLAKE3 of a chunk of `length` bytes of which only the given pieces are not zero."""
    if len(pieces) == 1 and len(pieces[0][1]) == length:
        return blake3(pieces[0][1]).digest()
    hasher = blake3()
    position = 0
    for offset, data in pieces:
        hasher.update(memoryview(_ZERO)[: offset - position])
        hasher.update(data)
        position = offset + len(data)
    hasher.update(memoryview(_ZERO)[: length - position])
    return hasher.digest()


def scatter(stretches: list[Extent], dense: memoryview) -> list[tuple[int, memoryview]]:
    """Puts the stored pages of a chunk, one after the other in `dense`, to their places: pairs of offset and content."""
    placed = []
    position = 0
    for offset, length in stretches:
        placed.append((offset, dense[position : position + length]))
        position += length
    return placed


def to_bitmap(stretches: Iterable[Extent]) -> bytes:
    """One bit for each stored page, the first page's the lowest."""
    bits = 0
    for offset, length in stretches:
        pages = -(-length // PAGE)
        bits |= ((1 << pages) - 1) << (offset // PAGE)
    return bits.to_bytes(PAGES // 8, "little")


def from_bitmap(bitmap: bytes, length: int) -> list[Extent]:
    """The stretches that a bitmap names in a chunk of `length` bytes."""
    bits = int.from_bytes(bitmap, "little")
    found: list[Extent] = []
    position = 0
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & (bits + 1)).bit_length() - 1
        bits >>= ones
        start = (position + zeros) * PAGE
        position += zeros + ones
        found.append((start, min(position * PAGE, length) - start))
    return found
