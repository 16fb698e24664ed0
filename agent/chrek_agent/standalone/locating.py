"""The container that a person means: by its ID, or by any process in it."""

import re
from pathlib import Path
from typing import Final

from chrek_agent.container import processes
from chrek_agent.container.discovery import Container, find_container
from chrek_agent.errors import AgentError

_ID: Final = re.compile(r"[0-9a-f]{64}")


def locate(target: str, cgroup_root: Path) -> Container:
    """The container of an ID, or of a process's PID on this machine.

    Raises:
        AgentError: There is none.
    """
    return by_pid(int(target), cgroup_root) if target.isdigit() and len(target) < 10 else by_id(target, cgroup_root)


def by_id(identifier: str, cgroup_root: Path) -> Container:
    """See `find_container`: what it reads of a pod is its container's name, state and ID."""
    status = {"name": "main", "state": {"running": {}}, "containerID": f"container://{identifier}"}
    pod = {"metadata": {}, "spec": {"containers": [{"name": "main"}]}, "status": {"containerStatuses": [status]}}
    return find_container(pod, cgroup_root)


def by_pid(pid: int, cgroup_root: Path) -> Container:
    """The container is the process's PID namespace, and the cgroup of its PID 1."""
    if processes.read_process(pid) is None:
        raise AgentError(f"there is no process {pid}")
    init = next((member for member in processes.namespace_members(pid) if member.inner == 1), None)
    if init is None or init.pid in (1, init.inner):
        hint = "start it in a container, or by unshare --pid --fork --mount-proc"
        raise AgentError(f"process {pid} is in no PID namespace of its own", hint=hint)
    lines = (processes.PROC / str(init.pid) / "cgroup").read_text()
    named = _ID.search(lines)
    if named:
        return by_id(named[0], cgroup_root)
    return Container(f"pid-{init.pid}-{init.start}", "main", init.pid, init.start, _cgroups(lines, cgroup_root))


def _cgroups(lines: str, root: Path) -> tuple[Path, ...]:
    found = []
    for line in lines.splitlines():
        _, controllers, path = line.split(":", 2)
        for top in (root / controllers.removeprefix("name=") if controllers else root, root / "unified"):
            directory = top / path.lstrip("/")
            if ".." not in path.split("/") and (directory / "cgroup.procs").exists():
                found.append(directory)
                break
    return tuple(dict.fromkeys(found))
