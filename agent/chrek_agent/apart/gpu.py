"""The calls of NVIDIA's driver with which a loader fills a GPU's memory, by ctypes; whoever imports this is waited for."""

import ctypes
import os
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_ulonglong, c_void_p
from typing import Any, Final

DEVICES: Final = "/dev"
LIBRARY: Final = "libcuda.so.1"
_PINNED, _DEVICE, _READ_WRITE, _PORTABLE = 1, 1, 3, 1
_DESCRIPTOR: Final = 1
"""CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR."""


class GpuError(OSError):
    """The driver refused; the words say which call, and what the driver calls it."""


class _Location(ctypes.Structure):
    _fields_ = (("type", c_int), ("id", c_int))


class _Properties(ctypes.Structure):
    """The driver's CUmemAllocationProp."""

    _fields_ = (
        ("type", c_int),
        ("handles", c_int),
        ("location", _Location),
        ("windows", c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    )


class _Access(ctypes.Structure):
    """The driver's CUmemAccessDesc."""

    _fields_ = (("location", _Location), ("flags", c_int))


class Gpu:
    """One GPU, in a context of our own; addresses, handles and streams are plain integers.

    Args:
        uuid: As the management library writes it, `GPU-...`.
        library: Stands in for the driver's in tests.

    Raises:
        GpuError: There is no such GPU, or the driver refuses. OSError: no driver.
    """

    def __init__(self, uuid: str, library: Any = None) -> None:
        names = os.listdir(DEVICES)  # noqa: PTH208 - whoever imports more is waited for
        if sum(name.startswith("nvidia") and name[6:].isdigit() for name in names) > 1:
            # The driver then leaves the other GPUs alone, which saves their share of its start.
            os.environ["CUDA_VISIBLE_DEVICES"] = uuid
        self._cuda = ctypes.CDLL(LIBRARY) if library is None else library
        self._call("cuInit", 0)
        device, context = self._find(bytes.fromhex(uuid.removeprefix("GPU-").replace("-", ""))), c_void_p()
        self._call("cuDevicePrimaryCtxRetain", byref(context), c_int(device))
        self._context = context
        self._where = _Location(_DEVICE, device)
        self._properties = _Properties(type=_PINNED, handles=_DESCRIPTOR, location=self._where)
        self.enter()

    def _find(self, uuid: bytes) -> int:
        count, device, raw = c_int(), c_int(), (ctypes.c_ubyte * 16)()
        self._call("cuDeviceGetCount", byref(count))
        for number in range(count.value):
            self._call("cuDeviceGet", byref(device), c_int(number))
            self._call("cuDeviceGetUuid", byref(raw), device)
            if bytes(raw) == uuid:
                return device.value
        raise GpuError("the agent does not see this GPU")

    def enter(self) -> None:
        """Has the calling thread work with this GPU."""
        self._call("cuCtxSetCurrent", self._context)

    def free(self) -> int:
        """Bytes of its memory that nobody has."""
        free, total = c_size_t(), c_size_t()
        self._call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def create(self, length: int) -> int:
        """New memory that can be shared; returns its handle."""
        handle = c_ulonglong()
        self._call("cuMemCreate", byref(handle), c_size_t(length), byref(self._properties), c_ulonglong(0))
        return handle.value

    def map(self, handle: int, length: int) -> int:
        """Maps memory, wherever there is room; returns the address."""
        address, access = c_uint64(), _Access(self._where, _READ_WRITE)
        self._call("cuMemAddressReserve", byref(address), c_size_t(length), c_size_t(0), c_uint64(0), c_ulonglong(0))
        self._call("cuMemMap", address, c_size_t(length), c_size_t(0), c_ulonglong(handle), c_ulonglong(0))
        self._call("cuMemSetAccess", address, c_size_t(length), byref(access), c_size_t(1))
        return address.value

    def export(self, handle: int) -> int:
        """A descriptor by which another process can map the memory too."""
        descriptor = c_int(-1)
        self._call("cuMemExportToShareableHandle", byref(descriptor), c_ulonglong(handle), c_int(_DESCRIPTOR), c_ulonglong(0))
        return descriptor.value

    def register(self, address: int, length: int) -> None:
        """Pins host memory, so that it can be copied from at full speed."""
        self._call("cuMemHostRegister_v2", c_void_p(address), c_size_t(length), c_int(_PORTABLE))

    def stream(self) -> int:
        """A stream that waits for no other."""
        stream = c_void_p()
        self._call("cuStreamCreate", byref(stream), c_int(1))
        return stream.value or 0

    def wait(self, stream: int) -> None:
        """Until all of a stream is done."""
        self._call("cuStreamSynchronize", c_void_p(stream))

    def finish(self) -> None:
        """Until all of all streams is done."""
        self._call("cuCtxSynchronize")

    def fill(self, address: int, host: int, length: int, stream: int) -> None:
        """Begins a copy to the GPU."""
        self._call("cuMemcpyHtoDAsync_v2", c_uint64(address), c_void_p(host), c_size_t(length), c_void_p(stream))

    def clear(self, address: int, length: int, stream: int) -> None:
        """Begins to fill with zeros."""
        self._call("cuMemsetD8Async", c_uint64(address), ctypes.c_ubyte(0), c_size_t(length), c_void_p(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._cuda, name, None)
        if function is None:
            raise GpuError(f"the driver has no {name}")
        code = int(function(*arguments))
        if code:
            word = c_char_p()
            known = self._cuda.cuGetErrorName(c_int(code), byref(word)) == 0 and word.value
            raise GpuError(f"{name}: {word.value.decode() if known and word.value else f'error {code}'}")
