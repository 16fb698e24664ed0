"""Device files of this machine, as a container's configuration names them."""

import os
import stat
from pathlib import Path
from typing import Any

from kubectl_chrek.local.node.config import NodeConfig

_OTHERS = {"shm", "pts", "mqueue", "fd", "ptmx", "console", "tty"}


def describe(path: Path) -> dict[str, Any] | None:
    """OCI's description of a device file; None for anything else."""
    status = path.lstat()
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return None
    return {
        "path": str(path),
        "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def everything(root: Path = Path("/dev")) -> list[dict[str, Any]]:
    """What a privileged container gets: all there is, less what each container has of its own."""
    found = []
    for directory, below, files in os.walk(root):
        below[:] = [name for name in below if name not in _OTHERS]
        found += [describe(Path(directory, name)) for name in files if name not in _OTHERS]
    return [device for device in found if device is not None]


class Gpus:
    """The GPUs of a node and the pods that hold them."""

    def __init__(self, config: NodeConfig) -> None:
        self._free = list(range(config.gpus))
        self._held: dict[str, list[int]] = {}

    def take(self, owner: str, count: int) -> list[dict[str, Any]]:
        """Device files of `count` GPUs for this owner; fewer when the scheduler was passed by and too few are left."""
        self._held.setdefault(owner, [])
        while self._free and len(self._held[owner]) < count:
            self._held[owner].append(self._free.pop(0))
        files = [Path(f"/dev/nvidia{index}") for index in self._held[owner]]
        if files:
            files += [*sorted(Path("/dev").glob("nvidia-uvm*")), Path("/dev/nvidiactl")]
        described = [describe(path) for path in files if path.exists()]
        return [device for device in described if device is not None]

    def give_back(self, owner: str) -> None:
        """The owner's GPUs are free again."""
        self._free = sorted(self._free + self._held.pop(owner, []))
