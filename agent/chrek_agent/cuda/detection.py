"""Which processes of a tree use CUDA, and how: those that hold one of NVIDIA's devices and have its driver library mapped."""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from kubectl_chrek.api import names

_DEVICE: Final = re.compile(r"/dev/nvidia(?:\d+|ctl|-uvm)")
DEVICES: Final = Path("/dev/nvidiactl")
"""What is there on a node with a GPU."""
_LIBRARY: Final = "libcuda.so"


def gpu_processes(tree: Sequence[processes.Process], proc: Path = processes.PROC) -> list[processes.Process]:
    """In the tree's order. On a node without the driver's devices nothing is looked at."""
    return [process for process in tree if _holds_device(proc / str(process.pid)) and maps_driver(proc / str(process.pid))]


def _holds_device(directory: Path) -> bool:
    try:
        numbers = os.listdir(directory / "fd")  # noqa: PTH208 - a worker may hold thousands
    except OSError:
        return False
    for number in numbers:
        with contextlib.suppress(OSError):
            if _DEVICE.fullmatch(os.readlink(directory / "fd" / number)):  # noqa: PTH115 - as above
                return True
    return False


def maps_driver(directory: Path) -> bool:
    """The process of this directory of /proc has loaded the driver's library."""
    try:
        with (directory / "maps").open(errors="replace") as lines:
            return any(_LIBRARY in line for line in lines)
    except OSError:
        return False


def shares_copies(pid: int, proc: Path = processes.PROC) -> bool:
    """The driver's copies in this process are made by several threads: it was started with our library loaded first."""
    try:
        variables = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(one.startswith(b"LD_PRELOAD=") and names.DRIVER_COPY_FILE.encode() in one for one in variables)
