"""Processes that their own user has stopped, which CRIU forgets: noted at the capture, so that a restore does not make them run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chrek_agent.container.processes import Process

FILE: Final = "stopped.json"
_STOPPED: Final = "T"


def among(worker: Sequence[Process]) -> list[int]:
    """Their PIDs in the container; to be asked before anybody else stops them."""
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
