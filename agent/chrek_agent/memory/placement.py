"""On which processors fillers run: memory is had from the node of whoever touches it first, and it is the worker that uses it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

NODES: Final = Path("/sys/devices/system/node")


def near(pid: int, nodes: Path = NODES) -> set[int]:
    """The processors of the one NUMA node that all of a process's are on, as far as we may use them.

    Empty where that makes no difference: there is one node only, the process may run on several, or nobody says.

    Args:
        pid: Of the process.
        nodes: As the kernel tells of them in sysfs.
    """
    with suppress(OSError, ValueError):
        wanted = os.sched_getaffinity(pid)
        found = [parse_processors((node / "cpulist").read_text()) for node in nodes.glob("node[0-9]*")]
        whole = [processors for processors in found if wanted <= processors]
        if len([processors for processors in found if processors]) > 1 and whole:
            return whole[0] & os.sched_getaffinity(0)
    return set()


def parse_processors(text: str) -> set[int]:
    """What the kernel means by such as `0-3,8`. Raises ValueError."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if part:
            found.update(range(int(first), int(last or first) + 1))
    return found
