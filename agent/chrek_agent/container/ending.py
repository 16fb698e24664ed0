"""The end of what a restore has left half done in a container."""

import signal
import time
from typing import Final

from chrek_agent.container import control, processes
from chrek_agent.container.discovery import Container
from chrek_agent.errors import AgentError

_PASSES: Final = 200
_PAUSE: Final = 0.01
_STOPPED: Final = ("T", "t")


def end_half_restored(container: Container) -> None:
    """Ends every process beside the container's PID 1, unless the shim has decided by itself; blocks for two seconds at most.

    Processes under restoration make their own children, so one look at them is not enough. Once the shim has decided it starts the
    worker cold, perhaps already has: then only what stands still is CRIU's, and nothing newer than the decision is looked at.
    """
    for _ in range(_PASSES):
        members = processes.beside(container.init)
        decided = _is_decided(container)
        left = [process for process in members if process.state not in ("Z", "X")]
        for process in left:
            if not decided or process.state in _STOPPED:
                processes.send(process.pid, signal.SIGKILL)
        if decided or not left:
            return
        time.sleep(_PAUSE)


def _is_decided(container: Container) -> bool:
    try:
        return control.read(container, control.OUTCOME) is not None
    except AgentError:
        return False
