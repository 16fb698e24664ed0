"""What an agent finds out about its node: each check says what is wrong and what to do about it. All of them block."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chrek_agent.config import AgentConfig
from chrek_agent.errors import AgentError
from chrek_agent.node import gpus
from chrek_agent.store.where import connect, plain
from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.api.node import FAIL, WARN, NodeCheck

OLDEST_CRIU: Final = (4, 1)
OLDEST_DRIVER: Final = (550,)
OLDEST_REMAP_DRIVER: Final = (580,)
LOW_FREE: Final = 0.10
SKEW_SECONDS: Final = 10.0
_CAPABILITIES: Final = {"SYS_ADMIN": 21, "SYS_PTRACE": 19, "NET_ADMIN": 12, "SYS_CHROOT": 18, "DAC_OVERRIDE": 1}
_SYS_RESOURCE: Final = 24
_OWN_DISK: Final = frozenset({"ext4", "ext3", "ext2", "xfs", "btrfs", "zfs", "f2fs"})
_LOST: Final = frozenset({"tmpfs", "ramfs", "overlay"})
_THP: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_IO_URING: Final = Path("/proc/sys/kernel/io_uring_disabled")
_PIDS: Final = Path("/proc/sys/kernel/ns_last_pid")
_MOUNTS: Final = Path("/proc/self/mountinfo")


def node_checks(config: AgentConfig, criu: str, skew: float | None) -> list[NodeCheck]:
    """All checks, in order.

    Args:
        config: Where the agent finds things.
        criu: CRIU's version, empty when it does not run.
        skew: Seconds that this node's clock is ahead of the API server's; None when there is none, or it is not known.
    """
    probes: list[Callable[[], NodeCheck]] = [
        lambda: check_criu(criu, config.criu_root),
        check_kernel,
        check_privileges,
        lambda: check_cgroups(config.cgroup_root),
        *_store_probes(config),
        lambda: check_state(config.state),
        check_thp,
        check_io_uring,
        check_gpus,
    ]
    found = [_guarded(probe) for probe in probes]
    return found if skew is None else [*found, check_clock(skew)]


def _store_probes(config: AgentConfig) -> list[Callable[[], NodeCheck]]:
    if config.storage:
        return [lambda: check_remote_store(config.storage)]
    base = config.base_path
    return [lambda: check_store(base), lambda: check_space(base), lambda: check_sharing(base)]


def _guarded(probe: Callable[[], NodeCheck]) -> NodeCheck:
    try:
        return probe()
    except (OSError, AgentError) as error:
        name = getattr(probe, "__name__", "check").removeprefix("check_")
        return NodeCheck(name=name, verdict=WARN, message=f"cannot be checked: {error}")


def check_criu(version: str, root: Path) -> NodeCheck:
    """CRIU runs, and is new enough for present kernels."""
    if not version:
        fix = "install CRIU >= 4.1 and name its tree with --criu-root or CHREK_CRIU_ROOT"
        return NodeCheck(name="criu", verdict=FAIL, message=f"CRIU does not run from {root}", fix=fix)
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < OLDEST_CRIU:
        return NodeCheck(name="criu", verdict=WARN, message=f"CRIU {version} is old", fix="install CRIU >= 4.1")
    return NodeCheck(name="criu", message=f"CRIU {version}")


def check_kernel() -> NodeCheck:
    """The kernel has what CRIU needs to bring PIDs and clocks back."""
    needed = {"CONFIG_CHECKPOINT_RESTORE": _PIDS, "CONFIG_TIME_NS": Path("/proc/self/ns/time")}
    missing = [option for option, path in needed.items() if not path.exists()]
    if missing:
        message = f"kernel {os.uname().release} is built without {', '.join(missing)}"
        return NodeCheck(name="kernel", verdict=FAIL, message=message, fix="use a distribution's kernel >= 5.11")
    return NodeCheck(name="kernel", message=f"kernel {os.uname().release}")


def check_privileges() -> NodeCheck:
    """The agent may do what CRIU does."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    missing = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    if missing:
        fix = "run the agent as root, privileged and with hostPID"
        return NodeCheck(name="privileges", verdict=FAIL, message=f"the agent lacks {', '.join(missing)}", fix=fix)
    if not held >> _SYS_RESOURCE & 1:
        message = "the agent lacks SYS_RESOURCE: workers that do not run as root cannot be captured"
        return NodeCheck(name="privileges", verdict=WARN, message=message, fix="run the agent privileged")
    return NodeCheck(name="privileges", message="all capabilities that CRIU needs")


def check_cgroups(root: Path) -> NodeCheck:
    """Containers can be found in cgroupfs, and restored trees moved into their cgroups."""
    tops = [top for top in (root, *(path for path in root.glob("*") if path.is_dir())) if (top / "cgroup.procs").exists()]
    fix = "mount the host's /sys/fs/cgroup into the agent, writable"
    if not tops:
        return NodeCheck(name="cgroups", verdict=FAIL, message=f"there is no cgroupfs at {root}", fix=fix)
    if not any(os.access(top / "cgroup.procs", os.W_OK) for top in tops):
        return NodeCheck(name="cgroups", verdict=FAIL, message=f"{root} is read-only", fix=fix)
    version = "v2" if (root / "cgroup.controllers").exists() else "v1"
    return NodeCheck(name="cgroups", message=f"cgroup {version} at {root}")


def check_store(base: Path) -> NodeCheck:
    """Artifacts can be written."""
    try:
        _write(base)
    except OSError as error:
        fix = "see the volume that is mounted there, its access mode and its quota"
        return NodeCheck(name="store", verdict=FAIL, message=f"{base} cannot be written: {error.strerror or error}", fix=fix)
    return NodeCheck(name="store", message=f"{base} is writable")


def check_remote_store(location: str) -> NodeCheck:
    """Artifacts can be listed, and written: a tiny object is, and is deleted again."""
    key = f"checks/{os.uname().nodename.lower()}-{os.getpid()}"
    try:
        backend = connect(location)
        backend.put(key, b"x")
        backend.delete(key)
        backend.list("tombstones/")
    except (OSError, ChrekError) as error:
        return NodeCheck(name="store", verdict=FAIL, message=str(error), fix="see docs/storage.md")
    return NodeCheck(name="store", message=f"{plain(location)} is writable")


def _write(directory: Path) -> None:
    path = directory / f".chrek-check-{os.getpid()}"
    try:
        with path.open("wb") as file:
            file.write(b"x")
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


def check_space(base: Path) -> NodeCheck:
    """There is room for more artifacts."""
    usage = shutil.disk_usage(base)
    share = usage.free / max(usage.total, 1)
    message = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} GiB free"
    if share < LOW_FREE:
        return NodeCheck(name="space", verdict=WARN, message=message, fix="kubectl chrek gc, or a larger volume")
    return NodeCheck(name="space", message=message)


def check_sharing(base: Path) -> NodeCheck:
    """What is captured here can be restored elsewhere, and outlives the agent's pod."""
    kind = file_system(base)
    if kind in _LOST:
        fix = "mount a volume there"
        return NodeCheck(name="sharing", verdict=WARN, message=f"{base} is a {kind}: artifacts are lost with it", fix=fix)
    if kind in _OWN_DISK:
        message = f"{base} is a local {kind}: what is captured here is restored here only"
        return NodeCheck(name="sharing", message=message, fix="a ReadWriteMany volume serves all nodes")
    return NodeCheck(name="sharing", message=f"{base} is on {kind}")


def file_system(path: Path) -> str:
    """Type of the file system that holds a path: the last mount that is above it counts."""
    found, longest = "unknown", -1
    resolved = path.resolve()
    for line in _MOUNTS.read_text().splitlines():
        head, _, tail = line.partition(" - ")
        point = Path(head.split()[4])
        if len(point.parts) >= longest and resolved.is_relative_to(point):
            found, longest = tail.split()[0], len(point.parts)
    return found


def check_state(state: Path) -> NodeCheck:
    """The journal can be written: without it nothing begins."""
    try:
        _write(state)
    except OSError as error:
        message = f"{state} cannot be written: {error.strerror or error}"
        return NodeCheck(name="state", verdict=FAIL, message=message, fix="mount a hostPath there")
    return NodeCheck(name="state", message=f"{state} is writable")


def check_thp() -> NodeCheck:
    """Large memory can come back in huge pages."""
    if not _THP.exists():
        return NodeCheck(name="huge-pages", verdict=WARN, message="this kernel has no transparent huge pages: restores are slower")
    mode = _THP.read_text().partition("[")[2].partition("]")[0]
    if mode == "never":
        fix = f"echo madvise > {_THP}"
        return NodeCheck(name="huge-pages", verdict=WARN, message="transparent huge pages are off: restores are slower", fix=fix)
    return NodeCheck(name="huge-pages", message=f"transparent huge pages: {mode}")


def check_io_uring() -> NodeCheck:
    """CRIU cannot dump a worker that uses io_uring."""
    blocked = _IO_URING.exists() and _IO_URING.read_text().strip() == "2"
    if blocked:
        return NodeCheck(name="io-uring", message="io_uring is off on this node")
    fix = "give workers a seccomp profile that refuses io_uring_setup, or set sysctl kernel.io_uring_disabled=2"
    return NodeCheck(name="io-uring", message="io_uring is on: a worker that uses it cannot be captured", fix=fix)


def check_gpus() -> NodeCheck:
    """The driver can checkpoint, and we can ask it to."""
    driver = gpus.driver_version()
    if driver is None:
        return NodeCheck(name="gpu", message="no NVIDIA driver: workers without GPUs only")
    parts = tuple(int(part) for part in driver.split("."))
    able = gpus.can_checkpoint()
    if able is False or (able is None and parts < OLDEST_DRIVER):
        return NodeCheck(name="gpu", verdict=FAIL, message=f"driver {driver} cannot checkpoint GPUs", fix="install a driver >= 580")
    try:
        import cuda.bindings.driver  # type: ignore[import-not-found, unused-ignore] # noqa: F401 - asked for, not used
    except ImportError:
        fix = "pip install cuda-bindings"
        return NodeCheck(name="gpu", verdict=FAIL, message=f"driver {driver}, but cuda.bindings is not installed", fix=fix)
    if parts < OLDEST_REMAP_DRIVER:
        message = f"driver {driver} restores onto the very same GPUs only"
        return NodeCheck(name="gpu", verdict=WARN, message=message, fix="install a driver >= 580")
    divided = sorted(minor for minor, gpu in gpus.node_gpus()[0].items() if gpu.mig)
    if divided:
        message = f"driver {driver}; GPU {', '.join(map(str, divided))} divided (MIG): workers on parts of it cannot be captured"
        return NodeCheck(name="gpu", verdict=WARN, message=message, fix="nvidia-smi -mig 0, where workers are to be captured")
    return NodeCheck(name="gpu", message=f"driver {driver}")


def check_clock(skew: float) -> NodeCheck:
    """Leases and heartbeats compare clocks."""
    if abs(skew) > SKEW_SECONDS:
        message = f"this node's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the API server's"
        return NodeCheck(name="clock", verdict=WARN, message=message, fix="run an NTP client on the node")
    return NodeCheck(name="clock", message="the clock agrees with the API server's")
