"""What is to be known of a worker before it is frozen, so that a refusal costs nothing."""

from pathlib import Path

from chrek_agent.container import processes
from chrek_agent.container.discovery import Container
from chrek_agent.container.refusals import refuse
from chrek_agent.errors import CaptureError, RestoreError
from chrek_agent.store.model import Manifest


def find_worker(container: Container) -> list[processes.Process]:
    """The worker's process tree, its root first, if it can be captured. Blocks for a second at most.

    Raises:
        CaptureError: There is none, it is not one tree, or holds something that cannot be captured.
    """
    found = worker_tree(container)
    refuse(container, found)
    return found


def worker_tree(container: Container) -> list[processes.Process]:
    """The worker's process tree, its root first. Raises CaptureError when there is none, or more than one."""
    members = processes.namespace_members(container.init)
    roots = [process for process in members if process.parent == container.init]
    if not roots:
        raise CaptureError("the worker is not running")
    if len(roots) > 1:
        others = ", ".join(f"{process.name} ({process.inner})" for process in roots[1:])
        raise CaptureError(f"processes have left the worker's tree and cannot be captured with it: {others}")
    return processes.tree(roots[0].pid, members)


def pipes(container: Container) -> dict[int, str]:
    """The standard streams of a container's PID 1 that are pipes to its runtime: descriptor -> `pipe:[inode]`.

    Raises:
        CaptureError: One is a terminal or a socket.
    """
    found: dict[int, str] = {}
    for number in (0, 1, 2):
        target = str(Path(f"/proc/{container.init}/fd/{number}").readlink())
        if target.startswith("pipe:"):
            if target not in found.values():
                found[number] = target
        elif target.startswith(("socket:", "/dev/pts/")):
            raise CaptureError(f"standard stream {number} of the worker is {target}: only files and pipes can be captured")
    return found


def check_target(container: Container, manifest: Manifest) -> None:
    """Whether this fresh container has room for the captured processes.

    Raises:
        RestoreError: With what stands in the way.
    """
    taken = {process.inner for process in processes.namespace_members(container.init)} & set(manifest.source.pids)
    if taken:
        raise RestoreError(f"PID {min(taken)} of the captured worker is taken in the new pod")
