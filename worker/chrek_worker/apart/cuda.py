"""GPU memory that is kept apart: each allocation has an address range of its own, whose memory can go and come back."""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from chrek_worker.apart.driver import CudaError, Driver
from chrek_worker.apart.region import Blocks, Region, unused, used
from chrek_worker.apart.slot import SharedSlot, Slot

InUse = Callable[[], "Blocks | None"]

_HUGE = 2 << 20
# Advice of madvise(2), some of it younger than Python's names for it.
_HUGEPAGE, _POPULATE_WRITE = 14, 23


class CudaMemory:
    """Allocations on one GPU.

    Args:
        driver: The GPU.
        in_use: What in them is in use; None where that is not known, and then all of it is.
    """

    def __init__(self, driver: Driver, in_use: InUse = lambda: None) -> None:
        self._driver = driver
        self._in_use = in_use
        self._lock = threading.Lock()
        self._lengths: dict[int, int] = {}
        self._handles: dict[int, int] = {}
        self._adopted: set[int] = set()
        self.gpu = driver.uuid

    def allocate(self, nbytes: int) -> int:
        """The address of new memory of at least so many bytes. Raises CudaError."""
        grain = self._driver.granularity
        length = -(-nbytes // grain) * grain
        self._driver.enter()
        address = self._driver.reserve(length)
        try:
            handle = self._driver.populate(address, length)
        except BaseException:
            self._driver.forget(address, length)
            raise
        with self._lock:
            self._lengths[address], self._handles[address] = length, handle
        return address

    def free(self, address: int) -> None:
        """Gives an allocation back, address and all; of one that was vacated, the address. Raises CudaError."""
        with self._lock:
            length, handle = self._lengths.pop(address), self._handles.pop(address, None)
            self._adopted.discard(address)
        self._driver.enter()
        if handle is not None:
            self._driver.synchronize()
            self._driver.drop(address, length, handle)
        self._driver.forget(address, length)

    def regions(self) -> list[Region]:
        """See Memory."""
        with self._lock:
            return sorted(Region(*item) for item in self._lengths.items())

    def stretches(self) -> list[Region]:
        """See Memory."""
        in_use = self._in_use()
        return self.regions() if in_use is None else used(self.regions(), in_use)

    @property
    def is_borrowed(self) -> bool:
        """See Memory."""
        return bool(self._adopted)

    def settle(self) -> None:
        """See Memory. What is not in use becomes zeros: it would only make two captures of the same weights differ."""
        self._driver.enter()
        self._driver.synchronize()
        in_use = self._in_use()
        for gap in [] if in_use is None else unused(used(self.regions(), in_use), in_use):
            self._driver.clear(gap.address, gap.length, 0)
        self._driver.synchronize()

    def vacate(self, region: Region) -> None:
        """See Memory."""
        self._driver.enter()
        self._driver.drop(region.address, region.length, self._handles.pop(region.address))
        self._adopted.discard(region.address)

    def occupy(self, region: Region) -> None:
        """See Memory."""
        self._take(region, lambda: self._driver.populate(region.address, region.length))

    def adopt(self, region: Region, descriptor: int) -> bool:
        """See Memory."""
        try:
            self._take(region, lambda: self._driver.adopt(region.address, region.length, descriptor))
        except CudaError as error:
            sys.stderr.write(f"chrek: memory that the agent has loaded is loaded anew: {error}\n")
            return False
        self._adopted.add(region.address)
        return True

    def _take(self, region: Region, populate: Callable[[], int]) -> None:
        self._driver.enter()
        try:
            handle = populate()
        except CudaError as error:
            # Where the range itself has not come through the restore, it is free and can be had again.
            try:
                self._driver.reserve(region.length, at=region.address)
            except CudaError:
                raise error from None
            handle = populate()
        with self._lock:
            self._handles[region.address] = handle

    def lane(self, size: int, *, shared: bool = True) -> CudaLane:
        """See Memory."""
        self._driver.enter()
        return CudaLane(self._driver, RegisteredSlot(self._driver, size) if shared else PinnedSlot(self._driver, size))


class RegisteredSlot(SharedSlot):
    """A shared slot that the GPU copies from and to at full speed."""

    def __init__(self, driver: Driver, size: int) -> None:
        super().__init__(size)
        self._driver = driver
        try:
            driver.register(self.address, size)
        except BaseException:
            super().close()
            raise

    def close(self) -> None:
        """See Slot."""
        self._driver.unregister(self.address)
        super().close()


class PinnedSlot:
    """Memory of our own that the GPU copies from and to at full speed: on huge pages it is pinned in half the driver's own time."""

    def __init__(self, driver: Driver, size: int) -> None:
        self._driver = driver
        self.size = size
        self._map = mmap.mmap(-1, size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for advice in (_HUGEPAGE, _POPULATE_WRITE):
            # Where there is no such thing it takes longer.
            with suppress(OSError):
                self._map.madvise(advice)
        self._first = ctypes.c_char.from_buffer(self._map)
        start = -ctypes.addressof(self._first) % _HUGE
        self.address = ctypes.addressof(self._first) + start
        self.view = memoryview(self._map)[start : start + size]
        driver.register(self.address, size)

    def close(self) -> None:
        """See Slot."""
        self._driver.unregister(self.address)
        self.view.release()
        del self._first
        self._map.close()


class CudaLane:
    """Copies by the GPU, between its memory and a pinned slot."""

    def __init__(self, driver: Driver, slot: Slot) -> None:
        self._driver = driver
        self.slot = slot
        try:
            self._stream = driver.stream()
        except BaseException:
            slot.close()
            raise

    def save(self, address: int, length: int) -> None:
        """See Lane."""
        self._driver.to_host(self.slot.address, address, length, self._stream)
        self.wait()

    def load(self, address: int, length: int) -> None:
        """See Lane."""
        self._driver.to_device(address, self.slot.address, length, self._stream)

    def clear(self, address: int, length: int) -> None:
        """See Lane."""
        self._driver.clear(address, length, self._stream)

    def wait(self) -> None:
        """See Lane."""
        self._driver.wait(self._stream)

    def close(self) -> None:
        """See Lane. Any thread may do it."""
        self._driver.enter()
        self.wait()
        self._driver.end(self._stream)
        self.slot.close()
