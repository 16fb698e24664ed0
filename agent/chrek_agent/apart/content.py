"""The pieces by which a loader fills memory, and where its readers find them; whoever imports this is waited for."""

import os
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from blake3 import blake3

PIECE: Final = 2 << 20
"""One chunk, which fits into what a processor has at hand: it is read, and verified at once."""
_ZERO: Final = bytes(PIECE)

Part = tuple[int, int, int, int]
"""Of a piece: offset in it, length, number of the pack, offset in that."""
Digest = tuple[int, int, str]
"""Of a chunk: offset and length in its allocation, BLAKE3. It lies in one piece as a whole."""


class Piece(NamedTuple):
    """What goes to one place at once: `parts` lie in files, in order; all else is zeros."""

    number: int
    offset: int
    length: int
    parts: Sequence[Part]
    digests: Sequence[Digest]


class Content:
    """What belongs into the memory: for each allocation stretches, extents and digests, as [offset, length, ...] and in order."""

    def __init__(
        self,
        packs: Sequence[str],
        stretches: Sequence[list[list[int]]],
        extents: Sequence[list[list[int]]],
        digests: Sequence[list[Digest]],
    ) -> None:
        self._stretches, self._extents, self._digests = stretches, extents, digests
        self._files = [os.open(pack, os.O_RDONLY | os.O_CLOEXEC) for pack in packs]
        self.bytes = sum(length for listed in stretches for _, length in listed)

    def pieces(self) -> Iterator[Piece]:
        """All, in order."""
        for number in range(len(self._stretches)):
            yield from self._pieces(number)

    def _pieces(self, number: int) -> Iterator[Piece]:
        extents, at = self._extents[number], 0
        digests, first = self._digests[number], 0
        for start, length in self._stretches[number]:
            for offset in range(start, start + length, PIECE):
                end = min(offset + PIECE, start + length)
                while at < len(extents) and extents[at][0] + extents[at][1] <= offset:
                    at += 1
                last = first
                while last < len(digests) and digests[last][0] < end:
                    last += 1
                yield Piece(number, offset, end - offset, self._parts(extents, at, offset, end), digests[first:last])
                first = last

    def _parts(self, extents: list[list[int]], at: int, start: int, end: int) -> list[Part]:
        found = []
        while at < len(extents) and extents[at][0] < end:
            address, length, pack, position = extents[at]
            begin, stop = max(address, start), min(address + length, end)
            found.append((begin - start, stop - begin, pack, position + begin - address))
            at += 1
        return found

    def read(self, piece: Piece, into: memoryview) -> None:
        """A piece as it is to be, gaps and all. Raises OSError, also if it is not what was captured."""
        done = 0
        for offset, length, pack, position in piece.parts:
            into[done:offset] = _ZERO[: offset - done]
            _read(self._files[pack], into[offset : offset + length], position)
            done = offset + length
        into[done : piece.length] = _ZERO[: piece.length - done]
        for start, size, name in piece.digests:
            if blake3(into[start - piece.offset : start - piece.offset + size]).hexdigest() != name:
                raise OSError("a chunk in a pack has changed")


def _read(descriptor: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(descriptor, [into], offset)
        if not count:
            raise OSError("a pack is shorter than its index says")
        into, offset = into[count:], offset + count
