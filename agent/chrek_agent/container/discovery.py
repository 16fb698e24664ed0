"""From a pod's status to its container's processes on this node, whatever runtime made it.

The container's ID names a directory in cgroupfs, v1 and v2 alike: `<id>` or `crio-<id>` with the cgroupfs driver,
`<runtime>-<id>.scope` with the systemd driver, `<slice>:cri-containerd:<id>` where only the kubelet uses that. The container's
processes name everything else. No runtime is asked.
"""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chrek_agent.container import processes
from chrek_agent.errors import AgentError
from kubectl_chrek.api import names

# One hierarchy is enough to find a container; the first that is there is used. An empty name is a v2 mount.
_HIERARCHIES = ("pids", "memory", "cpu", "freezer", "systemd", "")


@dataclass(frozen=True, slots=True)
class Container:
    """A running container. PIDs are the host's."""

    id: str
    name: str
    init: int
    init_start: int
    cgroups: tuple[Path, ...]
    """Its directory in each hierarchy: who is to live with it is written into each one's cgroup.procs."""

    @property
    def root(self) -> Path:
        """Its root file system, seen from here. Its links may point anywhere: enter it by chroot before following any."""
        return processes.PROC / str(self.init) / "root"

    def has_system_v(self) -> bool:
        """Its IPC namespace holds System V shared memory, semaphores or message queues."""
        files = [f"/proc/sysvipc/{kind}" for kind in ("shm", "sem", "msg")]
        command = ["nsenter", "-t", str(self.init), "-i", "cat", *files]
        listing = subprocess.run(command, capture_output=True, check=False).stdout
        return listing.count(b"\n") > len(files)  # Each begins with the names of its columns.

    def running(self) -> bool:
        """Its PID 1 is still the one we found."""
        return processes.is_same(self.init, self.init_start)


def worker_name(pod: Mapping[str, Any]) -> str:
    """Name of the container that is captured or restored."""
    chosen = (pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_CONTAINER)
    containers = [container["name"] for container in pod["spec"]["containers"]]
    if chosen:
        return str(chosen)
    return names.DEFAULT_CONTAINER if names.DEFAULT_CONTAINER in containers else str(containers[0])


def running_id(pod: Mapping[str, Any]) -> str:
    """ID of the pod's worker container, without the runtime's prefix; empty while it does not run."""
    name = worker_name(pod)
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status["name"] == name and "running" in (status.get("state") or {}):
            return str(status.get("containerID", "")).rpartition("//")[2]
    return ""


def find_container(pod: Mapping[str, Any], cgroup_root: Path) -> Container:
    """The pod's worker container on this node.

    Raises:
        AgentError: It is not running here, or the node is laid out in a way that we do not know.
    """
    identifier = running_id(pod)
    if not identifier:
        raise AgentError(f"container {worker_name(pod)} is not running")
    found = _find_cgroup(identifier, cgroup_root)
    if found is None:
        raise AgentError(f"container {identifier[:12]} has no cgroup below {cgroup_root}: is it on this node?")
    top, directory = found
    candidates = _find_init(directory)
    if not candidates:
        raise AgentError(f"container {identifier[:12]} has no process 1")
    # A sandbox inside the container has a process 1 as well: the container's own is the oldest.
    init, home = min(candidates, key=lambda candidate: candidate[0].start)
    cgroups = _cgroups_of(init.pid, cgroup_root, home, home.relative_to(top))
    return Container(identifier, worker_name(pod), init.pid, init.start, cgroups)


def _find_cgroup(identifier: str, root: Path) -> tuple[Path, Path] | None:
    """The first hierarchy that is there, and the container's directory in it."""
    for hierarchy in _HIERARCHIES:
        top = root / hierarchy
        if not (top / "cgroup.procs").exists():
            continue
        for parent, directories, _ in os.walk(top):
            for name in directories:
                # CRI-O's monitor has a scope of its own beside the container's.
                ours = name.endswith((f"-{identifier}.scope", f"-{identifier}", f":{identifier}"))
                if name == identifier or (ours and not name.startswith("crio-conmon-")):
                    return top, Path(parent, name)
        return None
    return None


def _find_init(directory: Path) -> list[tuple[processes.Process, Path]]:
    """Each process 1 in the container's cgroup and those just below, and which it is in."""
    found = []
    for path in (directory, *(entry for entry in directory.iterdir() if entry.is_dir())):
        with contextlib.suppress(OSError):  # It goes away, or is of the threaded kind.
            for line in (path / "cgroup.procs").read_text().split():
                process = processes.read_process(int(line))
                if process is not None and process.inner == 1:
                    found.append((process, path))
    return found


def _cgroups_of(pid: int, root: Path, home: Path, relative: Path) -> tuple[Path, ...]:
    """`home`, where the process was found, and its directories in the other hierarchies.

    `/proc/PID/cgroup` counts from the agent's own cgroup namespace: where that leads upwards, `relative` is taken instead.
    """
    found = [home]
    for line in (processes.PROC / str(pid) / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers:
            top = root / controllers.removeprefix("name=")
        else:
            top = root if (root / "cgroup.controllers").exists() else root / "unified"
        directory = top / (relative if ".." in path.split("/") else path.lstrip("/"))
        if (directory / "cgroup.procs").exists():
            found.append(directory)
    return tuple(dict.fromkeys(found))
