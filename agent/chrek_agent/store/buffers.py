"""Page-aligned buffers of one chunk each, a fixed number of them: what bounds the memory of a capture."""

import mmap
import queue
import threading
from typing import Final

from chrek_agent.store.chunking import CHUNK

IN_FLIGHT: Final = 64 << 20
"""Bytes of all buffers of one capture."""


class Buffer:
    """One buffer; whoever holds it may write to `view`, and gives it back once."""

    __slots__ = ("_pool", "view")

    def __init__(self, pool: "queue.SimpleQueue[Buffer]") -> None:
        self.view = memoryview(mmap.mmap(-1, CHUNK))
        self._pool = pool

    def release(self) -> None:
        """Gives it back."""
        self._pool.put(self)


class BufferPool:
    """Buffers are made when first needed."""

    def __init__(self, count: int = IN_FLIGHT // CHUNK) -> None:
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        self._unmade = count
        self._lock = threading.Lock()

    def take(self) -> Buffer:
        """A buffer; waits until there is one."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            with self._lock:
                if self._unmade:
                    self._unmade -= 1
                    return Buffer(self._free)
        return self._free.get()
