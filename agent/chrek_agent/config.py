"""Where the agent finds things on its node. All paths are absolute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

# Seconds that each phase may take; CRIU's own runs have limits of their own below.
CAPTURE_LIMITS: Final = MappingProxyType(
    {"inspect": 60.0, "gpu": 300.0, "memory": 1800.0, "rootfs": 600.0, "commit": 1800.0, "verify": 1800.0}
)
RESTORE_LIMITS: Final = MappingProxyType(
    {"verify": 120.0, "skeleton": 300.0, "rootfs": 120.0, "fill": 600.0, "gpu": 300.0, "resume": 30.0}
)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent's settings; the defaults are those of the DaemonSet."""

    node: str
    base_path: Path = Path("/checkpoints")
    state: Path = Path("/var/lib/chrek")
    """Journal and CRIU's work directories: local to the node, and kept over restarts of the agent."""
    criu_root: Path = Path("/")
    """The tree whose usr/sbin/criu and libraries are run."""
    cgroup_root: Path = Path("/sys/fs/cgroup")
    dump_seconds: float = 1800.0
    restore_seconds: float = 600.0
    ready_seconds: float = 60.0
    """How long a verified capture waits for the operator's Ready before the source is let go all the same."""
    capture_limits: Mapping[str, float] = field(default_factory=lambda: CAPTURE_LIMITS)
    restore_limits: Mapping[str, float] = field(default_factory=lambda: RESTORE_LIMITS)
    attempt_seconds: float = 900.0
    """How long a restore may take in all before its pod starts cold."""
    early_seconds: float = 10.0
    """A restored worker that ends sooner counts as a failed restore."""
    retry_seconds: float = 3600.0
    """How long an artifact that failed on this node is not tried here again."""
    upkeep_seconds: float = 1800.0
    """About how often the store is swept and repacked."""
    listen: str = ""
    """`host:port` of metrics and health; empty: none."""
    keep_connections: bool = True
    """TCP connections over loopback between the captured processes go on after a restore; all others end in any case."""
    huge_pages: bool = True
    """New memory on this node is put on huge pages while a worker's GPU memory moves to the host, which then takes a third less."""
    namespace: str = ""
    """Empty: all namespaces."""

    storage: str = ""
    """Where artifacts are kept, as `store.where` reads it; empty: in base_path."""

    cache: Path | None = None
    """Where this node keeps what its restores have read of the store; None: nowhere."""
    cache_bytes: int = 0
    """Bytes that the cache may use."""

    repair_from: tuple[str, ...] = ()
    """Other stores that damaged chunks may be fetched from, as `storage`."""

    @property
    def location(self) -> str:
        """Where artifacts are kept."""
        return self.storage or str(self.base_path)

    @property
    def staging(self) -> Path:
        """Captures under way, for a store that is not on this machine."""
        return self.state / "staging"

    @property
    def journal(self) -> Path:
        """One file for each operation under way."""
        return self.state / "journal"

    @property
    def attempts(self) -> Path:
        """Restores that failed on this node."""
        return self.state / "failed.json"

    @property
    def work(self) -> Path:
        """CRIU's logs and statistics."""
        return self.state / "work"
