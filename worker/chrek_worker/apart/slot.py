"""Host memory through which content travels."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from typing import Protocol

# Names that `fcntl` has from Python 3.10 on only where the C library had them when it was built.
_ADD_SEALS = 1033
_SEAL_SHRINK_AND_GROW = 2 | 4


class Slot(Protocol):
    """`size` bytes, at `address` and in `view`."""

    size: int
    address: int
    view: memoryview

    def close(self) -> None:
        """Nothing of it stays."""


class SharedSlot:
    """A slot that is a file in memory: the agent reads and writes it by `descriptor`. Its size can never change."""

    def __init__(self, size: int) -> None:
        self.descriptor = os.memfd_create("chrek-apart", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, size)
            fcntl.fcntl(self.descriptor, _ADD_SEALS, _SEAL_SHRINK_AND_GROW)
            self._map = mmap.mmap(self.descriptor, size)
        except BaseException:
            os.close(self.descriptor)
            raise
        self._first = ctypes.c_char.from_buffer(self._map)
        self.size = size
        self.address = ctypes.addressof(self._first)
        self.view = memoryview(self._map)

    def close(self) -> None:
        """See Slot: neither a mapping nor a descriptor may be in a dump."""
        self.view.release()
        del self._first
        self._map.close()
        os.close(self.descriptor)
