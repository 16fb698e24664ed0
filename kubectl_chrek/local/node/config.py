"""Where a node keeps its things, and how it behaves."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

IMAGE: Final = "localhost/host"
"""The one image there is: the root file system of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """A node's settings. Below `state` it is laid out as a kubelet's and containerd's directories are."""

    state: Path
    name: str = "local"
    cgroup_parent: str = "/chrek-local"
    cgroup_root: Path = Path("/sys/fs/cgroup")
    host_mounts: tuple[Path, ...] = ()
    """Paths that every container sees read-only, even where they lie on another device than `/` or in `/tmp`."""
    backoff_seconds: float = 10.0
    """Delay before a container's second restart; it doubles with each one, up to thirty times as much."""
    heartbeat_seconds: float = 10.0
    readiness_seconds: float | None = None
    """Period of readiness probes until the first success; None means the probe's own `periodSeconds`."""
    pods: int = 110
    gpus: int = 0
    """How many of the machine's NVIDIA GPUs, from index 0, are given out as `nvidia.com/gpu`."""
    resources: Mapping[str, str] = field(default_factory=dict)
    """Extended resources that the node claims to have, like `example.com/thing: "2"`."""

    @property
    def kubelet_root(self) -> Path:
        """What is /var/lib/kubelet on a real node."""
        return self.state / "kubelet"

    @property
    def run_root(self) -> Path:
        """What is /run/containerd on a real node."""
        return self.state / "containerd"

    @property
    def log_root(self) -> Path:
        """What is /var/log on a real node."""
        return self.state / "log"

    @property
    def runc_root(self) -> Path:
        """The directory runc keeps its containers' states in."""
        return self.run_root / "runc" / "k8s.io"

    @property
    def snapshots(self) -> Path:
        """Parent of the containers' overlay directories."""
        return self.run_root / "snapshots"

    @property
    def claims(self) -> Path:
        """Parent of the directories that stand for PersistentVolumeClaims."""
        return self.state / "claims"

    def bundle(self, identifier: str) -> Path:
        """OCI bundle of a container."""
        return self.run_root / "io.containerd.runtime.v2.task" / "k8s.io" / identifier

    def pod_directory(self, uid: str) -> Path:
        """The kubelet's directory of a pod."""
        return self.kubelet_root / "pods" / uid

    def log_directory(self, namespace: str, name: str, uid: str) -> Path:
        """Parent of the log directories of a pod's containers."""
        return self.log_root / "pods" / f"{namespace}_{name}_{uid}"


def absolute(path: Path) -> Path:
    """The path without `..` and links in its parents: mounts and runc want it so."""
    return Path(os.path.realpath(path))
