"""Control groups of pods: where they are, and how they go away. Version 1, 2 and both at once."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubectl_chrek.local.node.config import NodeConfig


def qos(pod: Mapping[str, Any]) -> str:
    """The pod's quality of service class, as the API spells it."""
    containers = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]
    resources = [container.get("resources") or {} for container in containers]
    if not any(kind.get(part) for kind in resources for part in ("requests", "limits")):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= (kind.get("limits") or {}).keys() and (kind.get("requests") or kind["limits"]) == kind["limits"]
        for kind in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


def pod_path(config: NodeConfig, pod: Mapping[str, Any]) -> str:
    """Path of the pod's group in each hierarchy."""
    between = {"BestEffort": "/besteffort", "Burstable": "/burstable", "Guaranteed": ""}[qos(pod)]
    return f"{config.cgroup_parent}/kubepods{between}/pod{pod['metadata']['uid']}"


def is_unified(root: Path) -> bool:
    """Whether there is but one hierarchy: version 2 alone."""
    return (root / "cgroup.controllers").exists()


def hierarchies(root: Path) -> list[Path]:
    """The top directory of every hierarchy."""
    if is_unified(root):
        return [root]
    return [path for path in root.iterdir() if (path / "cgroup.procs").exists()] if root.exists() else []


def kill(root: Path, path: str) -> None:
    """Kills all processes in a group, where the kernel has a switch for that."""
    for hierarchy in hierarchies(root):
        with contextlib.suppress(OSError):
            (hierarchy / path.lstrip("/") / "cgroup.kill").write_text("1")


def remove(root: Path, path: str) -> None:
    """Removes a group and those in it from every hierarchy; those that still have processes stay."""
    for hierarchy in hierarchies(root):
        for directory, _, _ in os.walk(hierarchy / path.lstrip("/"), topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()


def remove_parents(config: NodeConfig) -> None:
    """Removes the groups above the pods where no pod is left, this node's or another's."""
    for part in ("/kubepods/besteffort", "/kubepods/burstable", "/kubepods", ""):
        for hierarchy in hierarchies(config.cgroup_root):
            with contextlib.suppress(OSError):
                (hierarchy / f"{config.cgroup_parent}{part}".lstrip("/")).rmdir()


def find(root: Path, uid: str, parent: str) -> set[str]:
    """Paths of the groups of the pod with this UID."""
    found = set()
    for hierarchy in hierarchies(root):
        for path in (hierarchy / parent.lstrip("/")).glob(f"kubepods/**/pod{uid}"):
            found.add(f"/{path.relative_to(hierarchy)}")
    return found


def oom_killed(root: Path, path: str) -> bool:
    """Whether the kernel killed a process of the group for want of memory."""
    hierarchy = root if is_unified(root) else root / "memory"
    for name in ("memory.events", "memory.oom_control"):
        with contextlib.suppress(OSError):
            for line in (hierarchy / path.lstrip("/") / name).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1]) > 0
    return False
