"""The driver's library on host memory, as far as memory apart calls it. Whoever touches what is not mapped dies.

GPU memory is files in memory, so that processes with a fake each share what they hand over by descriptors.
"""

import ctypes
import itertools
import mmap
import os
import re
from types import SimpleNamespace
from typing import NamedTuple

GRAIN = 2 << 20
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
LIBC.mprotect.argtypes = LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
NORESERVE = 0x4000
NOTHING = 0


FIXED = 0x10
RUBBISH = b"\xaa" * GRAIN
"""What was there before."""
TOTAL = 8 << 30


def uuid(ordinal):
    return f"GPU-00000000-0000-4000-8000-{ordinal:012x}"


def value(argument):
    return argument.value or 0 if hasattr(argument, "value") else argument


def snake(name):
    return re.sub("(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def put(pointer, number):
    pointer._obj.value = number


class Memory(NamedTuple):
    """Physical memory: a file of ours, on a GPU."""

    file: int
    length: int
    device: int
    shareable: bool


class FakeCuda:
    """Every call returns 0, or the error that `failing` has for its name."""

    def __init__(self):
        self.failing = {}
        self.reserved, self.mapped, self.registered, self.streams = {}, {}, {}, set()
        self.handles = {}
        self.imported = set()
        self.here = 0
        """Which GPU imported memory is on."""
        self.devices = 1
        self.calls = []
        self._numbers = itertools.count(1)  # Several threads take from it at once.

    def __getattr__(self, name):
        if not re.match("cu[A-Z]", name):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append(name)
            if name in self.failing:
                return self.failing[name]
            getattr(self, snake(name), lambda *_: None)(*arguments)
            return 0

        return call

    def cu_get_error_name(self, _code, pointer):
        pointer._obj.value = b"CUDA_ERROR_OUT_OF_MEMORY"

    def cu_device_get(self, pointer, ordinal):
        put(pointer, value(ordinal))

    def cu_device_get_count(self, pointer):
        put(pointer, self.devices)

    def cu_device_get_uuid(self, pointer, ordinal):
        pointer._obj[:] = bytes.fromhex(uuid(value(ordinal)).removeprefix("GPU-").replace("-", ""))

    def cu_mem_get_info_v2(self, free, total):
        put(free, TOTAL - sum(memory.length for memory in self.handles.values()))
        put(total, TOTAL)

    def cu_device_primary_ctx_retain(self, pointer, _device):
        put(pointer, 0xC0)

    def cu_mem_get_allocation_granularity(self, pointer, _properties, _option):
        put(pointer, GRAIN)

    def cu_mem_address_reserve(self, pointer, length, _alignment, at, _flags):
        length, at = value(length), value(at)
        address = LIBC.mmap(at, length + GRAIN, NOTHING, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE, -1, 0)
        aligned = -(-address // GRAIN) * GRAIN
        self.reserved[aligned] = (length, address)
        put(pointer, aligned)

    def cu_mem_address_free(self, address, length):
        length, start = self.reserved.pop(value(address))
        assert value(address) not in self.mapped
        LIBC.munmap(start, length + GRAIN)

    def cu_mem_create(self, pointer, length, properties, _flags):
        assert (properties._obj.type, properties._obj.location.type) == (1, 1)
        file = os.memfd_create("gpu", os.MFD_CLOEXEC)
        for _ in range(0, value(length), GRAIN):
            os.write(file, RUBBISH)
        memory = Memory(file, value(length), properties._obj.location.id, bool(properties._obj.handles))
        put(pointer, self._hold(memory))

    def _hold(self, memory):
        number = next(self._numbers)
        self.handles[number] = memory
        return number

    def cu_mem_export_to_shareable_handle(self, pointer, handle, kind, _flags):
        memory = self.handles[value(handle)]
        assert (value(kind), memory.shareable) == (1, True)
        put(pointer, os.dup(memory.file))

    def cu_mem_import_from_shareable_handle(self, pointer, descriptor, kind):
        assert value(kind) == 1
        file = os.dup(value(descriptor))
        number = self._hold(Memory(file, os.fstat(file).st_size, self.here, True))
        self.imported.add(number)
        put(pointer, number)

    def cu_mem_get_allocation_properties_from_handle(self, properties, handle):
        properties._obj.location.type, properties._obj.location.id = 1, self.handles[value(handle)].device

    def cu_mem_map(self, address, length, offset, handle, _flags):
        address, length, memory = value(address), value(length), self.handles[value(handle)]
        assert self.reserved[address][0] == length == memory.length
        assert value(offset) == 0
        LIBC.mmap(address, length, NOTHING, mmap.MAP_SHARED | FIXED, memory.file, 0)
        self.mapped[address] = length

    def cu_mem_set_access(self, address, length, access, count):
        assert (access._obj.flags, value(count)) == (3, 1)
        LIBC.mprotect(value(address), value(length), mmap.PROT_READ | mmap.PROT_WRITE)

    def cu_mem_unmap(self, address, length):
        if self.mapped.pop(value(address), None):
            LIBC.mmap(value(address), value(length), NOTHING, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE | FIXED, -1, 0)

    def cu_mem_release(self, handle):
        self.imported.discard(value(handle))
        os.close(self.handles.pop(value(handle)).file)

    def cu_mem_host_register_v2(self, address, length, _flags):
        self.registered[value(address)] = value(length)

    def is_pinned(self, host, length):
        return any(start <= host and host + length <= start + size for start, size in self.registered.items())

    def cu_mem_host_unregister(self, address):
        del self.registered[value(address)]

    def cu_stream_create(self, pointer, _flags):
        stream = 0x5000 + next(self._numbers)
        put(pointer, stream)
        self.streams.add(stream)

    def cu_stream_destroy_v2(self, stream):
        self.streams.remove(value(stream))

    def cu_memcpy_dto_hasync_v2(self, host, address, length, stream):
        assert self.is_pinned(value(host), value(length))
        assert value(stream) in self.streams
        ctypes.memmove(value(host), value(address), value(length))

    def cu_memcpy_hto_dasync_v2(self, address, host, length, stream):
        assert self.is_pinned(value(host), value(length))
        assert value(stream) in self.streams
        ctypes.memmove(value(address), value(host), value(length))

    def cu_memset_d8_async(self, address, byte, length, _stream):
        ctypes.memset(value(address), value(byte), value(length))


class FakeTorch:
    """As much of torch as its pools need; `segments` are what its allocator says it has."""

    def __init__(self):
        self.segments = []
        self.alloc = self.free = None
        self.inside = []
        self.__version__ = "2.11"
        self._C = SimpleNamespace(_cuda_customAllocator=self._customise)
        self.cuda = SimpleNamespace(
            MemPool=lambda allocator: ("pool", allocator),
            init=lambda: None,
            is_available=lambda: True,
            current_device=lambda: 0,
            device=self._within,
            use_mem_pool=self._within,
            memory_snapshot=lambda: self.segments,
            empty_cache=lambda: self.inside.append("emptied"),
        )

    def device(self, _name):
        return SimpleNamespace(index=1)

    def _customise(self, alloc, free):
        self.alloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p)(alloc)
        self.free = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p)(free)
        return "allocator"

    def _within(self, what):
        torch = self

        class Within:
            def __enter__(self):
                torch.inside.append(what)

            def __exit__(self, *_):
                torch.inside.remove(what)

        return Within()
