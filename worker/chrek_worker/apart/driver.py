"""The calls of NVIDIA's driver that keeping memory apart needs, by ctypes: no CUDA toolkit has to be there."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_ulonglong, c_void_p
from typing import Any

LIBRARY = "libcuda.so.1"
_PINNED, _DEVICE, _READ_WRITE = 1, 1, 3
_PORTABLE = 1
_DESCRIPTOR = 1
"""CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR."""


class CudaError(OSError):
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


class Driver:
    """One GPU by its ordinal in this process; addresses and handles are plain integers.

    Args:
        device: The ordinal.
        library: Stands in for the driver's in tests.

    Raises:
        CudaError: There is no such GPU. OSError: no driver.
    """

    def __init__(self, device: int, library: Any = None) -> None:
        self._cuda = ctypes.CDLL(LIBRARY) if library is None else library
        self._call("cuInit", 0)
        number, context = c_int(), c_void_p()
        self._call("cuDeviceGet", byref(number), c_int(device))
        self._call("cuDevicePrimaryCtxRetain", byref(context), number)
        self._context = context
        self._where = _Location(_DEVICE, number.value)
        self._properties = _Properties(type=_PINNED, location=self._where)
        grain = c_size_t()
        self._call("cuMemGetAllocationGranularity", byref(grain), byref(self._properties), c_int(0))
        self.granularity = grain.value
        self._number = number

    @property
    def uuid(self) -> str:
        """The GPU's, as the management library writes it."""
        raw = (ctypes.c_ubyte * 16)()
        self._call("cuDeviceGetUuid", byref(raw), self._number)
        text = bytes(raw).hex()
        return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def enter(self) -> None:
        """Has the calling thread work with this GPU, in the context that the program itself uses."""
        self._call("cuCtxSetCurrent", self._context)

    def synchronize(self) -> None:
        """Waits for all that was begun."""
        self._call("cuCtxSynchronize")

    def reserve(self, length: int, at: int = 0) -> int:
        """An address range without memory, wherever or `at` this place."""
        address = c_uint64()
        self._call("cuMemAddressReserve", byref(address), c_size_t(length), c_size_t(0), c_uint64(at), c_ulonglong(0))
        if at and address.value != at:
            self.forget(address.value, length)
            raise CudaError(f"address {at:#x} is taken")
        return address.value

    def forget(self, address: int, length: int) -> None:
        """Gives an address range back."""
        self._call("cuMemAddressFree", c_uint64(address), c_size_t(length))

    def populate(self, address: int, length: int) -> int:
        """Puts new memory at a reserved address; returns its handle."""
        handle = c_ulonglong()
        self._call("cuMemCreate", byref(handle), c_size_t(length), byref(self._properties), c_ulonglong(0))
        self._map(address, length, handle)
        return handle.value

    def adopt(self, address: int, length: int, descriptor: int) -> int:
        """Puts memory at a reserved address that another process has made on this GPU; returns its handle here.

        A process that has such memory is lost if the driver checkpoints it.
        """
        handle = c_ulonglong()
        self._call("cuMemImportFromShareableHandle", byref(handle), c_void_p(descriptor), c_int(_DESCRIPTOR))
        found = _Properties()
        known = not self._cuda.cuMemGetAllocationPropertiesFromHandle(byref(found), handle)
        if known and found.location.type == _DEVICE and found.location.id != self._where.id:
            self._cuda.cuMemRelease(handle)
            raise CudaError("memory of another GPU was handed over")
        self._map(address, length, handle)
        return handle.value

    def _map(self, address: int, length: int, handle: c_ulonglong) -> None:
        """Maps memory, or releases it."""
        try:
            self._call("cuMemMap", c_uint64(address), c_size_t(length), c_size_t(0), handle, c_ulonglong(0))
            access = _Access(self._where, _READ_WRITE)
            self._call("cuMemSetAccess", c_uint64(address), c_size_t(length), byref(access), c_size_t(1))
        except BaseException:
            self._cuda.cuMemUnmap(c_uint64(address), c_size_t(length))
            self._cuda.cuMemRelease(handle)
            raise

    def drop(self, address: int, length: int, handle: int) -> None:
        """Frees the memory at an address, which stays reserved."""
        self._call("cuMemUnmap", c_uint64(address), c_size_t(length))
        self._call("cuMemRelease", c_ulonglong(handle))

    def register(self, address: int, length: int) -> None:
        """Pins host memory, so that it can be copied from and to at full speed."""
        self._call("cuMemHostRegister_v2", c_void_p(address), c_size_t(length), c_int(_PORTABLE))

    def unregister(self, address: int) -> None:
        """Undoes `register`."""
        self._call("cuMemHostUnregister", c_void_p(address))

    def stream(self) -> int:
        """A stream that waits for no other."""
        stream = c_void_p()
        self._call("cuStreamCreate", byref(stream), c_int(1))
        return stream.value or 0

    def wait(self, stream: int) -> None:
        """Until all of a stream is done."""
        self._call("cuStreamSynchronize", c_void_p(stream))

    def end(self, stream: int) -> None:
        """Ends a stream."""
        self._call("cuStreamDestroy_v2", c_void_p(stream))

    def to_host(self, host: int, address: int, length: int, stream: int) -> None:
        """Begins a copy."""
        self._call("cuMemcpyDtoHAsync_v2", c_void_p(host), c_uint64(address), c_size_t(length), c_void_p(stream))

    def to_device(self, address: int, host: int, length: int, stream: int) -> None:
        """Begins a copy."""
        self._call("cuMemcpyHtoDAsync_v2", c_uint64(address), c_void_p(host), c_size_t(length), c_void_p(stream))

    def clear(self, address: int, length: int, stream: int) -> None:
        """Begins to fill with zeros."""
        self._call("cuMemsetD8Async", c_uint64(address), ctypes.c_ubyte(0), c_size_t(length), c_void_p(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        code = int(getattr(self._cuda, name)(*arguments))
        if code:
            word = c_char_p()
            known = self._cuda.cuGetErrorName(c_int(code), byref(word)) == 0 and word.value
            raise CudaError(f"{name}: {word.value.decode() if known and word.value else f'error {code}'}")
