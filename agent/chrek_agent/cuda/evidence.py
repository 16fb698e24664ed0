"""What /proc shows of a GPU process: mappings, open files, environment, threads. One that ends meanwhile shows nothing."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.container import processes

_MPS_PIPES: Final = "/tmp/nvidia-mps"  # noqa: S108 - a path in the worker's container
_COMMUNICATORS: Final = ("NCCL", "pt_nccl")
"""How names of threads begin while a communicator lives: NCCL's (with NCCL_SET_THREAD_NAME), torch's process groups'."""
_BORROWED: Final = "chrek-borrowed"
"""A thread's name, by which our own library shows that it holds memory that an agent has loaded (chrek_worker.apart.sign)."""
_SEGMENT: Final = "/dev/shm/nccl-"  # noqa: S108 - as above
_IPC: Final = "/dev/shm/cuda.shm."  # noqa: S108 - as above
_NCCL: Final = "/libnccl.so"
UVM: Final = "/dev/nvidia-uvm"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one process."""

    process: processes.Process
    mapped: Mapping[str, int]
    """Bytes that are mapped of each file below /dev."""
    files: frozenset[str]
    """What its descriptors link to, of what is below /dev."""
    environment: Mapping[str, str]
    """As the process was started with it; what it has set itself does not show."""
    threads: frozenset[str]
    nccl: bool = False
    """NCCL's library is loaded; it is in every process with torch."""
    mps: str = ""
    """The directory where an MPS server listens for it; empty without."""

    @property
    def communicates(self) -> bool:
        """It has a communicator of NCCL's at this moment."""
        named = any(name.startswith(_COMMUNICATORS) for name in self.threads)
        return named or any(path.startswith(_SEGMENT) for path in self.mapped)

    @property
    def may_communicate(self) -> bool:
        """It has a communicator, or nobody can tell: without names for its threads NCCL leaves no trace."""
        return self.communicates or (self.nccl and not self.says("NCCL_SET_THREAD_NAME", "1"))

    @property
    def borrows(self) -> bool:
        """It holds GPU memory that another process has made."""
        return _BORROWED in self.threads

    @property
    def managed(self) -> int:
        """Bytes of managed memory (cudaMallocManaged), and the few that the driver itself maps so."""
        return self.mapped.get(UVM, 0)

    @property
    def handles(self) -> frozenset[str]:
        """Files through which memory is shared by CUDA IPC."""
        return frozenset(path for path in self.mapped if path.startswith(_IPC))

    def says(self, name: str, *values: str) -> bool:
        """A variable has one of the values."""
        return self.environment.get(name) in values


def gather(process: processes.Process, proc: Path | None = None) -> Evidence:
    """Reads what there is."""
    directory = (proc or processes.PROC) / str(process.pid)
    environment = dict(word.split("=", 1) for word in _read(directory / "environ").split("\0") if "=" in word)
    pipes = environment.get("CUDA_MPS_PIPE_DIRECTORY") or _MPS_PIPES
    maps = _read(directory / "maps")
    return Evidence(
        process=process,
        mapped=_mapped(maps),
        files=frozenset(_links(directory / "fd")),
        environment=environment,
        threads=frozenset(_read(path).strip() for path in (directory / "task").glob("*/comm")),
        nccl=_NCCL in maps,
        mps=pipes if (directory / "root" / pipes.lstrip("/") / "control").exists() else "",
    )


def _mapped(maps: str) -> dict[str, int]:
    """Each line: `start-end flags offset device inode path`."""
    found: dict[str, int] = {}
    for line in maps.splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].startswith("/dev/"):
            start, _, end = parts[0].partition("-")
            path = parts[5].removesuffix(" (deleted)")
            found[path] = found.get(path, 0) + int(end, 16) - int(start, 16)
    return found


def _links(directory: Path) -> list[str]:
    found: list[str] = []
    with suppress(OSError):
        for number in os.listdir(directory):  # noqa: PTH208 - a worker may hold thousands
            with suppress(OSError):
                found.append(os.readlink(directory / number))  # noqa: PTH115 - as above
    return [link for link in found if link.startswith("/dev/")]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
