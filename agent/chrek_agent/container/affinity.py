"""CPU affinity of threads: CRIU does not restore it, and says nothing of it."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from chrek_agent.container.discovery import Container

FILE: Final = "affinity.json"
"""Beside CRIU's images: a thread's number in its container -> its CPUs, for threads that may not run everywhere."""


def save(container: Container, worker: list[processes.Process], path: Path) -> None:
    """Writes what is to be put back, if anything is. Raises OSError when it cannot be written."""
    usual = os.sched_getaffinity(container.init)
    found: dict[int, list[int]] = {}
    for process in worker:
        for inner, thread in _threads(process.pid):
            with contextlib.suppress(OSError):
                cpus = os.sched_getaffinity(thread)
                if cpus != usual:
                    found[inner] = sorted(cpus)
    if found:
        path.write_text(json.dumps(found))


def put_back(container: Container, path: Path) -> None:
    """Applies it to a restored tree; CPUs that this container may not use are left out, and a thread left with none runs anywhere.

    Raises:
        OSError: The file is there but cannot be read.
        ValueError: It is damaged.
    """
    if not path.exists():
        return
    wanted = {int(inner): set(cpus) for inner, cpus in json.loads(path.read_text()).items()}
    for process in processes.namespace_members(container.init):
        for inner, thread in _threads(process.pid):
            if inner in wanted:
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(thread, wanted[inner])


def _threads(pid: int) -> Iterator[tuple[int, int]]:
    """Each thread of a process: its number in its container, and the host's."""
    with contextlib.suppress(OSError):
        for task in (processes.PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                for line in (task / "status").read_text(errors="replace").splitlines():
                    if line.startswith("NSpid:"):
                        yield int(line.split()[-1]), int(task.name)
