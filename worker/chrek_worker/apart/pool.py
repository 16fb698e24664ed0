"""torch's allocator for memory that is kept apart: a pool whose memory comes from us."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chrek_worker.apart.cuda import CudaMemory
from chrek_worker.apart.driver import Driver
from chrek_worker.apart.region import Blocks

_ALLOCATE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p)
_FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p)


class Pools:
    """One pool for each GPU, made when it is first used, and kept for ever.

    Args:
        torch: The module.
        library: Stands in for the driver's library in tests.
    """

    def __init__(self, torch: Any, library: Any = None) -> None:
        if not hasattr(torch.cuda, "MemPool") or not hasattr(torch._C, "_cuda_customAllocator"):
            raise RuntimeError(
                f"torch {torch.__version__} has no torch.cuda.MemPool that takes an allocator: 2.5 or newer is needed"
            )
        self._torch = torch
        self._library = library
        self._pools: dict[int, Any] = {}
        self.memories: dict[int, CudaMemory] = {}
        # They are called by their addresses, so they must stay as long as the process.
        self._calls = (_ALLOCATE(self._allocate), _FREE(self._free))
        _keep(self._calls)

    @contextmanager
    def use(self, device: Any = None) -> Iterator[None]:
        """What this thread allocates on the device meanwhile comes from us."""
        cuda = self._torch.cuda
        cuda.init()
        number = cuda.current_device() if device is None else self._torch.device(device).index or 0
        with cuda.device(number):
            if number not in self._pools:
                pointers = [ctypes.cast(call, ctypes.c_void_p).value for call in self._calls]
                allocator = self._torch._C._cuda_customAllocator(*pointers)
                self._pools[number] = cuda.MemPool(allocator)
                # Nothing of it may be freed at the interpreter's end, when our calls cannot be made any more.
                _keep((allocator, self._pools[number]))
            with cuda.use_mem_pool(self._pools[number]):
                yield

    def trim(self) -> None:
        """Has torch give back what it keeps for later: it would be in the dump."""
        self._torch.cuda.empty_cache()

    def _allocate(self, size: int, device: int, _stream: int | None) -> int:
        try:
            memory = self.memories.get(device)
            if memory is None:
                memory = self.memories[device] = CudaMemory(Driver(device, self._library), self._in_use)
            return memory.allocate(size)
        except Exception as error:
            # torch takes it for "out of memory" and tries again, so the reason is told here.
            sys.stderr.write(f"chrek: {size} bytes apart on GPU {device}: {error}\n")
            return 0

    def _free(self, address: int, _size: int, device: int, _stream: int | None) -> None:
        try:
            self.memories[device].free(address)
        except Exception as error:
            sys.stderr.write(f"chrek: memory apart on GPU {device} is not given back: {error}\n")

    def _in_use(self) -> Blocks:
        """What torch has given out: the rest of its segments is worth nothing."""
        found = []
        for segment in self._torch.cuda.memory_snapshot():
            address = segment["address"]
            for block in segment["blocks"]:
                if block["state"] != "inactive":
                    found.append((address, block["size"]))
                address += block["size"]
        return Blocks(found)


def _keep(thing: object) -> None:
    """For ever."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
