"""The driver's checkpoint calls, as little of them as we use.

`cuda.bindings` is an optional package: it is imported when the first worker with CUDA comes along, and never without one.
Its calls let go of the interpreter's lock, so that threads make them side by side. A map of GPUs has not run on a GPU yet.
"""

import ctypes
import logging
from collections.abc import Mapping
from itertools import permutations
from typing import Any, Final, Protocol

from chrek_agent.errors import AgentError

LOG: Final = logging.getLogger(__name__)


_BUSY: Final = "CUDA_ERROR_NOT_READY"
_MULTICAST: Final = "CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED"


class CudaError(AgentError):
    """The driver refused, or cannot be asked."""


class BusyError(CudaError):
    """A process has not come to rest in the time given; it runs as before."""


class Driver(Protocol):
    """What the driver does to one process, by the host's PID. Everything blocks and raises CudaError."""

    def holds(self, pid: int) -> bool:
        """The process uses CUDA: the driver has state of it."""

    def lock(self, pid: int, seconds: float) -> None:
        """No CUDA call of the process begins any more; those under way end. Raises BusyError when they do not."""

    def checkpoint(self, pid: int) -> None:
        """Moves the process's GPU memory to its host memory and lets its GPUs go. It must be locked."""

    def restore(self, pid: int, gpus: Mapping[str, str]) -> None:
        """Takes GPUs again and moves the memory back; `gpus`: UUID at capture -> UUID here, empty for the same ones."""

    def unlock(self, pid: int) -> None:
        """CUDA calls of the process go on."""

    def gpus(self) -> list[str]:
        """UUIDs of this node's GPUs, in the driver's order."""

    def peers(self) -> bool:
        """Some two of this node's GPUs reach each other's memory."""

    def multicast(self) -> bool:
        """Some GPU of this node can be part of a multicast group, as NVLink SHARP makes them."""


class Bindings:
    """The driver by cuda.bindings. The context that cuInit makes stays for the agent's life: it takes seconds to make."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import driver  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            hint = "install cuda-bindings into the agent's environment"
            raise CudaError("the worker uses CUDA, but cuda.bindings is not installed", hint=hint) from error
        self._cuda: Any = driver
        self._call("cuInit", 0)

    def holds(self, pid: int) -> bool:
        """See Driver."""
        try:
            self._call("cuCheckpointProcessGetRestoreThreadId", pid)
        except CudaError as error:
            LOG.debug("process %d holds devices, but the driver knows nothing of it: %s", pid, error)
            return False
        return True

    def lock(self, pid: int, seconds: float) -> None:
        """See Driver."""
        arguments = self._cuda.CUcheckpointLockArgs()
        arguments.timeoutMs = round(seconds * 1000)
        self._call("cuCheckpointProcessLock", pid, arguments)

    def checkpoint(self, pid: int) -> None:
        """See Driver."""
        self._call("cuCheckpointProcessCheckpoint", pid, self._cuda.CUcheckpointCheckpointArgs())

    def restore(self, pid: int, gpus: Mapping[str, str]) -> None:
        """See Driver."""
        arguments = self._cuda.CUcheckpointRestoreArgs()
        if gpus:
            pairs = []
            for old, new in gpus.items():
                pair = self._cuda.CUcheckpointGpuPair()
                pair.oldUuid, pair.newUuid = self._uuid(old), self._uuid(new)
                pairs.append(pair)
            arguments.gpuPairs, arguments.gpuPairsCount = pairs, len(pairs)
        self._call("cuCheckpointProcessRestore", pid, arguments)

    def unlock(self, pid: int) -> None:
        """See Driver."""
        self._call("cuCheckpointProcessUnlock", pid, self._cuda.CUcheckpointUnlockArgs())

    def gpus(self) -> list[str]:
        """See Driver."""
        return [_spelled(bytes(self._call("cuDeviceGetUuid", device).bytes)) for device in self._devices()]

    def peers(self) -> bool:
        """See Driver."""
        devices = self._devices()
        return any(self._call("cuDeviceCanAccessPeer", one, other) for one, other in permutations(devices, 2))

    def multicast(self) -> bool:
        """See Driver."""
        attribute = getattr(self._cuda.CUdevice_attribute, _MULTICAST)
        return any(self._call("cuDeviceGetAttribute", attribute, device) for device in self._devices())

    def _devices(self) -> list[Any]:
        return [self._call("cuDeviceGet", index) for index in range(self._call("cuDeviceGetCount"))]

    def _uuid(self, text: str) -> Any:
        value = self._cuda.CUuuid()
        # Its bytes can only be read.
        ctypes.memmove(value.getPtr(), bytes.fromhex(text.removeprefix("GPU-").replace("-", "")), 16)
        return value

    def _call(self, name: str, *arguments: object) -> Any:
        function = getattr(self._cuda, name, None)
        if function is None:
            hint = "install cuda-bindings >= 12.8 and a driver >= 570"
            raise CudaError(f"the installed cuda.bindings has no {name}", hint=hint)
        try:
            code, *values = function(*arguments)
        except RuntimeError as error:  # The library finds no libcuda, or one that lacks the function.
            raise CudaError(f"{name}: {error}", hint="see that the driver's libcuda.so.1 is mounted into the agent") from error
        if code != self._cuda.CUresult.CUDA_SUCCESS:
            said = getattr(code, "name", code)
            raise (BusyError if said == _BUSY else CudaError)(f"{name} failed: {said}")
        return values[0] if values else None


def _spelled(raw: bytes) -> str:
    text = raw.hex()
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
