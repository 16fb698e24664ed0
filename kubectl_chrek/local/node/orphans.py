"""Burying processes that were left to us.

As a child subreaper the node gets what other programs orphan, such as CRIU when its agent is killed. A zombie in a container's PID
namespace that nobody buries keeps the container's first process from ever ending.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

_SECONDS: Final = 0.5


async def bury() -> None:
    """Runs until cancelled. Children of our own have somebody who waits for them and are gone by the second look."""
    seen: set[int] = set()
    while True:
        zombies = {pid for pid in children() if _is_zombie(pid)}
        for pid in zombies & seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
        seen = zombies
        await asyncio.sleep(_SECONDS)


def children() -> list[int]:
    """Of this process."""
    found: list[int] = []
    for listed in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # The thread has ended.
            found += map(int, listed.read_text().split())
    return found


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
