"""Memory to read a chunk into."""

import ctypes
import mmap
from contextlib import suppress

from chrek_agent.store.chunking import CHUNK


def chunk_buffer() -> memoryview:
    """One chunk of memory on a huge page, where there are any: the kernel then has one page to pin for a direct read, not 512."""
    memory = mmap.mmap(-1, 2 * CHUNK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % CHUNK
    return memoryview(memory)[start : start + CHUNK]
