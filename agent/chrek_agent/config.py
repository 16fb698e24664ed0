"""Where the agent finds things on its node. All paths are absolute."""

from dataclasses import dataclass
from pathlib import Path


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
    namespace: str = ""
    """Empty: all namespaces."""

    @property
    def journal(self) -> Path:
        """One file for each operation under way."""
        return self.state / "journal"

    @property
    def work(self) -> Path:
        """CRIU's logs and statistics."""
        return self.state / "work"
