"""Who stands still: what their own user has stopped, which CRIU forgets, stays so; and a dumped worker must not have gone on."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chrek_agent.container.processes import Process, read_process
from chrek_agent.errors import CaptureError

FILE: Final = "stopped.json"
_STOPPED: Final = "T"
_RUNNABLE: Final = "R"
_STILL: Final = ("T", "t", "Z", "X")
_SETTLE_SECONDS: Final = 1.0


def among(worker: Sequence[Process]) -> list[int]:
    """The PIDs in the container of those that their user has stopped; to be asked before anybody else stops them."""
    return [process.inner for process in worker if process.state == _STOPPED]


def save(found: Sequence[int], path: Path) -> None:
    """Notes them, if there are any."""
    if found:
        path.write_text(json.dumps(sorted(found)))


def load(path: Path) -> frozenset[int]:
    """What was noted; nothing where nothing was, or nothing that can be understood."""
    try:
        return frozenset(int(pid) for pid in json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return frozenset()


def refuse_restless(worker: Sequence[Process]) -> None:
    """Looks whether a dumped worker, as it was listed then, has stood still until now; blocks for a second at most.

    Raises:
        CaptureError: A process was made to run: what was copied since is newer than its memory.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while (moving := _moving(worker)) and all(process.state == _RUNNABLE for process in moving) and time.monotonic() < deadline:
        time.sleep(0.005)  # On a busy node it may not yet have had the time to stop.
    if moving:
        names = ", ".join(f"{process.name} ({process.inner})" for process in moving)
        raise CaptureError(f"the worker was made to run (SIGCONT) before its files were copied: {names}")


def _moving(worker: Sequence[Process]) -> list[Process]:
    now = ((process, read_process(process.pid)) for process in worker)
    return [found for process, found in now if found and found.start == process.start and found.state not in _STILL]
