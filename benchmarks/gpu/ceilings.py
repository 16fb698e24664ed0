"""What the machine can do at best, measured in the same run."""

import ctypes
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blake3 import blake3

from chrek_agent.node.gpus import driver_version

GIB = 1 << 30
PIECE = 2 << 20
_LIBC = ctypes.CDLL(None)
_POPULATE_WRITE = 23


def facts() -> dict[str, Any]:
    import torch

    def read(path: str) -> str:
        try:
            return Path(path).read_text().strip()
        except OSError:
            return ""

    cpu = next((line.partition(":")[2].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")), "")
    return {
        "gpu": torch.cuda.get_device_name(0),
        "driver": driver_version(),
        "torch": torch.__version__,
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": os.uname().release,
        "memory": read("/proc/meminfo").splitlines()[:3],
        "huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "huge_pages_defrag": read("/sys/kernel/mm/transparent_hugepage/defrag"),
        "huge_pages_shmem": read("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
    }


def copies() -> dict[str, float]:
    """Pinned memory, in GiB a second."""
    import torch

    host = torch.empty(4 * GIB, dtype=torch.uint8, pin_memory=True)
    device = torch.empty(4 * GIB, dtype=torch.uint8, device="cuda")

    def best(to: Any, source: Any) -> float:
        seconds = []
        for _ in range(3):
            torch.cuda.synchronize()
            begin = time.monotonic()
            to.copy_(source, non_blocking=True)
            torch.cuda.synchronize()
            seconds.append(time.monotonic() - begin)
        return round(4 / min(seconds), 1)

    return {"host_to_device": best(device, host), "device_to_host": best(host, device)}


def processor() -> dict[str, float]:
    """BLAKE3 and copying, by one thread and by all, in GiB a second."""
    threads = len(os.sched_getaffinity(0))
    one = mmap.mmap(-1, GIB)
    _populate(one, huge=True)

    def hash_(_: int) -> None:
        view = memoryview(one)
        for offset in range(0, GIB, PIECE):
            blake3(view[offset : offset + PIECE]).digest()

    def copy(_: int) -> None:
        other = mmap.mmap(-1, PIECE)
        to, source = _address(other), _address(one)
        for offset in range(0, GIB, PIECE):
            _LIBC.memcpy(ctypes.c_void_p(to), ctypes.c_void_p(source + offset), ctypes.c_size_t(PIECE))

    found = {}
    for name, work in (("blake3", hash_), ("copy", copy)):
        found[f"{name}_1"] = round(1 / timed(work, 1), 1)
        found[f"{name}_{threads}"] = round(threads / timed(work, threads), 1)
    return found


def memory(gib: int) -> dict[str, float]:
    """Has memory made present, which a virtual machine may have to fetch from its host; GiB a second."""
    return {name: _touch(gib, huge=name != "small") for name in ("first_huge", "huge", "huge_again", "small")}


def _touch(gib: int, *, huge: bool = False) -> float:
    threads = len(os.sched_getaffinity(0))
    areas = [mmap.mmap(-1, gib * GIB // threads, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(threads)]
    seconds = timed(lambda number: _populate(areas[number], huge=huge), threads)
    for area in areas:
        area.close()
    return round(gib / seconds, 1)


def _populate(area: mmap.mmap, *, huge: bool) -> None:
    area.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    assert _LIBC.madvise(ctypes.c_void_p(_address(area)), ctypes.c_size_t(len(area)), _POPULATE_WRITE) == 0


def _address(area: mmap.mmap) -> int:
    # The reference to the area ends with this call, so that it can be closed.
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


def timed(work: Callable[[int], None], threads: int) -> float:
    """Seconds until each of so many threads has done it."""
    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    begin = time.monotonic()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return time.monotonic() - begin


def present(gib: float) -> None:
    """Memory that is about to be used is there: a virtual machine may have to fetch it from its host first, slowly."""
    _touch(max(1, round(gib)), huge=True)
