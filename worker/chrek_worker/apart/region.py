"""What is kept apart: regions of memory with addresses of their own, and the pieces in which their content travels."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

GRAIN = 2 << 20
"""Pieces begin at multiples of it, counted from the start of their stretch."""


@dataclass(frozen=True, order=True)
class Region:
    """A stretch of memory. One that can be given up and had again at its address is of whole pages of 4096 bytes."""

    address: int
    length: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.length


@dataclass(frozen=True)
class Piece:
    """`length` bytes at `offset` of the stretch that begins at `start`."""

    start: int
    offset: int
    length: int

    @property
    def address(self) -> int:
        """Where it is."""
        return self.start + self.offset


def pieces(stretches: Iterable[Region], size: int) -> Iterator[Piece]:
    """What the stretches are cut into, in order; `size` is a multiple of GRAIN."""
    for stretch in stretches:
        for offset in range(0, stretch.length, size):
            yield Piece(stretch.address, offset, min(size, stretch.length - offset))


class Blocks:
    """Addresses and lengths of what is in use, none of them within another."""

    def __init__(self, blocks: Iterable[tuple[int, int]]) -> None:
        self._blocks = sorted(block for block in blocks if block[1])
        self._starts = [address for address, _ in self._blocks]

    def within(self, region: Region) -> Iterator[tuple[int, int]]:
        """Start and end of each in a region, cut off at its edges, in order."""
        for at in range(max(0, bisect_right(self._starts, region.address) - 1), len(self._blocks)):
            address, length = self._blocks[at]
            if address >= region.end:
                return
            if address + length > region.address:
                yield max(address, region.address), min(address + length, region.end)


def used(regions: Iterable[Region], blocks: Blocks) -> list[Region]:
    """The stretches of regions that hold something, in whole grains, in order."""
    found: list[Region] = []
    for region in sorted(regions):
        start = end = region.address
        for low, high in blocks.within(region):
            first = region.address + (low - region.address) // GRAIN * GRAIN
            if first > end:
                found += [Region(start, end - start)] if end > start else []
                start = first
            end = max(end, min(region.end, region.address + -(-(high - region.address) // GRAIN) * GRAIN))
        found += [Region(start, end - start)] if end > start else []
    return found


def unused(stretches: Iterable[Region], blocks: Blocks) -> list[Region]:
    """What of the stretches is not in use, to the byte."""
    found: list[Region] = []
    for stretch in stretches:
        position = stretch.address
        for low, high in blocks.within(stretch):
            found += [Region(position, low - position)] if low > position else []
            position = high
        found += [Region(position, stretch.end - position)] if stretch.end > position else []
    return found
