"""Host memory that is kept apart."""

from __future__ import annotations

import ctypes
import mmap
import weakref

from chrek_worker.apart.region import Region
from chrek_worker.apart.slot import SharedSlot, Slot


class HostMemory:
    """Private mappings; one that nobody has a view of any more is gone."""

    gpu = ""
    is_borrowed = False

    def __init__(self) -> None:
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._held: list[mmap.mmap] = []

    def allocate(self, nbytes: int) -> memoryview:
        """Zeros that can be written to. Raises ValueError for less than a byte, OSError when there is no memory."""
        if nbytes < 1:
            raise ValueError("a buffer has at least one byte")
        size = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._maps.add(mapped)
        return memoryview(mapped)[:nbytes]

    def regions(self) -> list[Region]:
        """See Memory."""
        return sorted(Region(_address(mapped), len(mapped)) for mapped in self._maps)

    def stretches(self) -> list[Region]:
        """See Memory."""
        return self.regions()

    def settle(self) -> None:
        """See Memory: who writes to it is the program's own business. What is there now stays, for it is copied by its address."""
        self._held = list(self._maps)

    def vacate(self, region: Region) -> None:
        """See Memory: it reads as zeros from here on."""
        for mapped in self._held:
            if _address(mapped) == region.address:
                mapped.madvise(mmap.MADV_DONTNEED)

    occupy = vacate

    def adopt(self, region: Region, descriptor: int) -> bool:
        """See Memory: there is none of it."""
        return False

    def lane(self, size: int, *, shared: bool = True) -> HostLane:
        """See Memory."""
        return HostLane(size)


class HostLane:
    """Copies by the processor."""

    def __init__(self, size: int) -> None:
        self.slot: Slot = SharedSlot(size)

    def save(self, address: int, length: int) -> None:
        """See Lane."""
        ctypes.memmove(self.slot.address, address, length)

    def load(self, address: int, length: int) -> None:
        """See Lane."""
        ctypes.memmove(address, self.slot.address, length)

    def clear(self, address: int, length: int) -> None:
        """See Lane. Pages that were given up are zeros already."""

    def wait(self) -> None:
        """See Lane."""

    def close(self) -> None:
        """See Lane."""
        self.slot.close()


def _address(mapped: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))
