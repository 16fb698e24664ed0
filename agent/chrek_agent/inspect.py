"""What is to be known of a worker before it is frozen, so that a refusal costs nothing."""

import os
import platform
from pathlib import Path

from chrek_agent import processes
from chrek_agent.container import Container
from chrek_agent.errors import CaptureError, RestoreError
from chrek_agent.store.manifest import Manifest, Platform

# Kinds of open files that CRIU has no way to dump, and what to do about each.
_HOPELESS = {
    "anon_inode:[io_uring]": "io_uring: block it by seccomp, or set UV_USE_IO_URING=0 or USE_LIBUV=0",
    "anon_inode:[perf_event]": "a perf event",
    "anon_inode:[userfaultfd]": "a userfaultfd",
    "anon_inode:bpf-prog": "a BPF program",
    "anon_inode:bpf-map": "a BPF map",
    "/dev/kvm": "/dev/kvm",
    "/dev/fuse": "/dev/fuse",
}


def find_worker(container: Container) -> list[processes.Process]:
    """The worker's process tree, its root first.

    Raises:
        CaptureError: There is none, or it cannot be dumped as one tree.
    """
    members = processes.namespace_members(container.init)
    roots = [process for process in members if process.parent == container.init]
    if not roots:
        raise CaptureError("the worker is not running")
    if len(roots) > 1:
        others = ", ".join(f"{process.name} ({process.inner})" for process in roots[1:])
        raise CaptureError(f"processes have left the worker's tree and cannot be captured with it: {others}")
    found = processes.tree(roots[0].pid, members)
    for process in found:
        _check_files(process)
    return found


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


def platform_facts(criu: str) -> Platform:
    """What images made here depend on."""
    return Platform(architecture=platform.machine(), kernel=platform.release(), cpu_features=sorted(_cpu_features()), criu=criu)


def check_target(container: Container, manifest: Manifest) -> None:
    """Whether this node and this fresh container can take the images.

    Raises:
        RestoreError: With what stands in the way.
    """
    here = platform.machine()
    if manifest.platform.architecture != here:
        raise RestoreError(f"captured on {manifest.platform.architecture}, this node is {here}")
    missing = sorted(set(manifest.platform.cpu_features) - _cpu_features())
    if missing:
        raise RestoreError(f"this node's CPU lacks {', '.join(missing[:5])}, which the captured worker may use")
    taken = {process.inner for process in processes.namespace_members(container.init)} & set(manifest.source.pids)
    if taken:
        raise RestoreError(f"PID {min(taken)} of the captured worker is taken in the new pod")


def _check_files(process: processes.Process) -> None:
    directory = Path(f"/proc/{process.pid}/fd")
    try:
        numbers = os.listdir(directory)  # noqa: PTH208 - a worker may hold thousands
    except OSError:
        return
    for number in numbers:
        try:
            target = str((directory / number).readlink())
        except OSError:
            continue
        if target in _HOPELESS:
            raise CaptureError(f"{process.name} (PID {process.inner}) uses {_HOPELESS[target]}, which CRIU cannot dump")


def _cpu_features() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return set()
