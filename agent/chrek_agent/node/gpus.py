"""The node's GPUs and its driver, and which of them a container has."""

import ctypes
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chrek_agent.container.discovery import Container
from chrek_agent.container.processes import PROC
from kubectl_chrek.api.compatibility import Gpu

DRIVER: Final = Path("/proc/driver/nvidia")
_VERSION: Final = re.compile(r"Kernel Module.*?\s(\d{3,}(?:\.\d+)+)\s")
_DEVICE: Final = re.compile(r"nvidia(\d+)")


def driver_version(directory: Path = DRIVER) -> str | None:
    """Version of NVIDIA's kernel driver; None when it is not loaded."""
    try:
        found = _VERSION.search((directory / "version").read_text())
    except OSError:
        return None
    return found[1] if found else None


def can_checkpoint(library: str = "libcuda.so.1") -> bool | None:
    """Whether the driver has the calls for it; None where its library is not to be found."""
    try:
        return hasattr(ctypes.CDLL(library), "cuCheckpointProcessLock")
    except OSError:
        return None


def node_gpus(directory: Path = DRIVER) -> tuple[dict[int, Gpu], str | None]:
    """All GPUs by minor number, and the newest CUDA version that the driver speaks (None: not known).

    Memory, MIG and CUDA are known to NVIDIA's management library alone, which is used if it is installed.
    """
    if driver_version(directory) is None:
        return {}, None
    try:
        import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return _listed(directory / "gpus"), None
    try:
        return _managed(pynvml)
    except pynvml.NVMLError:
        return _listed(directory / "gpus"), None


def _listed(directory: Path) -> dict[int, Gpu]:
    """From the kernel driver's own list."""
    found: dict[int, Gpu] = {}
    for path in directory.glob("*/information"):
        fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in path.read_text().splitlines())}
        uuid = fields.get("GPU UUID", "")
        # Of a GPU that nobody uses the kernel's driver may not know it, and says `GPU-????????-...`.
        known = "" if "?" in uuid else uuid
        found[int(fields.get("Device Minor", len(found)))] = Gpu(model=fields.get("Model", ""), uuid=known)
    return found


def _managed(nvml: Any) -> tuple[dict[int, Gpu], str | None]:
    nvml.nvmlInit()
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        number = nvml.nvmlSystemGetCudaDriverVersion_v2()
        gpus = {nvml.nvmlDeviceGetMinorNumber(handle): _describe(nvml, handle) for handle in handles}
        return gpus, f"{number // 1000}.{number % 1000 // 10}"
    finally:
        nvml.nvmlShutdown()


def _describe(nvml: Any, handle: Any) -> Gpu:
    try:
        mig = "enabled" if nvml.nvmlDeviceGetMigMode(handle)[0] else ""
    except nvml.NVMLError:
        mig = ""  # A GPU that cannot be divided.
    memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    model, uuid = _text(nvml.nvmlDeviceGetName(handle)), _text(nvml.nvmlDeviceGetUUID(handle))
    return Gpu(model=model, memory_bytes=memory, uuid=uuid, mig=mig)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def container_gpus(container: Container, gpus: Mapping[int, Gpu]) -> list[Gpu]:
    """Those whose device files the container has, by minor number."""
    return visible_gpus(container.init, gpus)


def visible_gpus(pid: int, gpus: Mapping[int, Gpu]) -> list[Gpu]:
    """Those whose device files a process sees, by minor number: the driver counts them all, whatever CUDA_VISIBLE_DEVICES says."""
    try:
        entries = list((PROC / str(pid) / "root" / "dev").iterdir())
    except OSError:
        return []
    minors = sorted(int(match[1]) for entry in entries if (match := _DEVICE.fullmatch(entry.name)))
    return [gpus.get(minor, Gpu()) for minor in minors]
