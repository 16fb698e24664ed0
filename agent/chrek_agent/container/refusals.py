"""What CRIU cannot dump, or could not bring back: looked for before anything is frozen, and said in one line."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.container import peers, processes
from chrek_agent.container.discovery import Container
from chrek_agent.container.processes import Process
from chrek_agent.errors import CaptureError

# Open files by what their links begin with.
_HOPELESS: Final = (
    ("anon_inode:[io_uring]", "io_uring"),
    ("anon_inode:[perf_event]", "a perf event"),
    ("anon_inode:[userfaultfd]", "a userfaultfd"),
    ("anon_inode:bpf", "a BPF program or map"),
    ("anon_inode:[landlock-ruleset]", "a Landlock rule set"),
    ("anon_inode:kvm", "a virtual machine"),
    ("/secretmem", "secret memory (memfd_secret)"),
    ("/dev/kvm", "/dev/kvm"),
    ("/dev/fuse", "/dev/fuse"),
    ("/dev/infiniband/", "an RDMA device"),
    ("/dev/vfio/", "a VFIO device"),
    ("/dev/dri/", "a graphics device"),
    ("/dev/net/tun", "a TUN device"),
)
_ADVICE: Final = {"io_uring": "block it by seccomp, or set UV_USE_IO_URING=0 or USE_LIBUV=0"}
_NAMESPACES: Final = ("mnt", "net", "uts", "ipc", "user", "pid")
_NOT_ON_A_MOUNT: Final = ("/memfd:", "/dev/zero (deleted)", "/SYSV", "/secretmem", "/anon_hugepage", "/[")
_CAP_SYS_RESOURCE: Final = 24
UNSENT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Opened:
    """One open file: whose, its number, and what its link says."""

    process: Process
    number: int
    target: str

    def info(self) -> dict[str, str]:
        """Its fdinfo, as far as it is `name: value`; empty when it is gone."""
        try:
            lines = (processes.PROC / str(self.process.pid) / "fdinfo" / str(self.number)).read_text().splitlines()
        except OSError:
            return {}
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def refuse(container: Container, worker: Sequence[Process]) -> None:
    """Blocks for a second at most.

    Raises:
        CaptureError: Names the process and what stands in the way.
    """
    _temporary_directory(container)
    opened = [file for process in worker for file in _files(process)]
    for find in (_process_reasons, _file_reasons, _terminals, _queues, _outer_sockets, _vanished):
        for process, reason in find(container, worker, opened):
            raise CaptureError(f"{process.name} (PID {process.inner}) {reason}")
    _wait_for_unsent(container)


Reasons = Iterator[tuple[Process, str]]
Finder = Callable[[Container, Sequence[Process], Sequence[Opened]], Reasons]


def _files(process: Process) -> Iterator[Opened]:
    directory = processes.PROC / str(process.pid) / "fd"
    try:
        numbers = os.listdir(directory)  # noqa: PTH208 - a worker may hold thousands
    except OSError:
        return
    for number in numbers:
        try:
            yield Opened(process, int(number), os.readlink(directory / number))  # noqa: PTH115 - a plain string is enough
        except OSError:
            continue


def _process_reasons(container: Container, worker: Sequence[Process], _: Sequence[Opened]) -> Reasons:
    known = {process.pid for process in worker}
    home = {name: _namespace(container.init, name) for name in _NAMESPACES}
    limited = not _capable(os.getpid(), _CAP_SYS_RESOURCE)
    for process in worker:
        for name, expected in home.items():
            if _namespace(process.pid, name) not in ("", expected):
                yield process, f"has a {name} namespace of its own, which cannot be captured"
        # One of its own namespace has come since the list was made: the freeze will find it.
        if any(_namespace(child, "pid") not in ("", home["pid"]) for child in _children(process.pid) - known):
            yield process, "has children in a PID namespace of their own, which cannot be captured"
        status = _status(process.pid)
        if status.get("TracerPid", "0") != "0":
            yield process, f"is being traced by process {status['TracerPid']} of the node: detach the debugger"
        if limited and status.get("Uid", "0").split()[0] != "0":
            yield process, "runs as another user, for which the agent needs CAP_SYS_RESOURCE: this node's agent does not have it"


def _file_reasons(_: Container, __: Sequence[Process], opened: Sequence[Opened]) -> Reasons:
    for file in opened:
        for sign, what in _HOPELESS:
            if file.target.startswith(sign):
                advice = _ADVICE.get(what, "close it before the capture")
                yield file.process, f"uses {what}, which CRIU cannot dump: {advice}"


def _terminals(_: Container, __: Sequence[Process], opened: Sequence[Opened]) -> Reasons:
    """A terminal can be captured when its other end is in the tree."""
    own = {file.info().get("tty-index", "") for file in opened if file.target.endswith("ptmx")}
    for file in opened:
        match = re.match(r"/dev/(?:pts/(\d+)|console|tty\d*)", file.target)
        if match and match[1] not in own:
            yield file.process, f"has terminal {file.target}, whose other end is not captured with it: run it without a terminal"


def _queues(container: Container, _: Sequence[Process], opened: Sequence[Opened]) -> Reasons:
    try:
        device = (container.root / "dev" / "mqueue").stat().st_dev
    except OSError:
        return
    for file in opened:
        path = processes.PROC / str(file.process.pid) / "fd" / str(file.number)
        if file.target.startswith("/") and _device(path) == device and file.target != "/dev/mqueue":
            yield file.process, f"uses POSIX message queue {file.target}, which CRIU cannot dump"


def _outer_sockets(container: Container, _: Sequence[Process], opened: Sequence[Opened]) -> Reasons:
    sockets = {int(match[1]): file for file in opened if (match := re.fullmatch(r"socket:\[(\d+)\]", file.target))}
    if not sockets:
        return
    try:
        connected = peers.unix_peers(container.init)
    except OSError:
        return  # A kernel without the diagnosis: CRIU will say it, later.
    for inode, file in sockets.items():
        peer = connected.get(inode, 0)
        if peer and peer not in sockets:
            yield (
                file.process,
                "is connected to a unix socket of a process outside its tree: close it before the capture",
            )


def _vanished(_: Container, __: Sequence[Process], opened: Sequence[Opened]) -> Reasons:
    mounts: dict[int, set[str]] = {}
    for file in opened:
        if not file.target.startswith("/") or file.target.startswith(_NOT_ON_A_MOUNT):
            continue
        pid = file.process.pid
        if pid not in mounts:
            try:
                lines = (processes.PROC / str(pid) / "mountinfo").read_text(errors="replace").splitlines()
            except OSError:
                continue
            mounts[pid] = {line.split(" ", 1)[0] for line in lines}
        mount = file.info().get("mnt_id", "")
        if mount and mount not in mounts[pid]:
            yield file.process, f"has {file.target} open on a file system that is not mounted in its container"


def _temporary_directory(container: Container) -> None:
    """CRIU makes directories in /tmp, seen from inside."""
    try:
        flags = os.statvfs(container.root / "tmp").f_flag
    except OSError:
        flags = os.ST_RDONLY
    if flags & os.ST_RDONLY:
        raise CaptureError("the worker's container has no /tmp that can be written, as CRIU has to: mount an emptyDir there")


def _wait_for_unsent(container: Container) -> None:
    """A connection between two captured processes whose buffers are full cannot be brought back; most are read at once."""
    deadline = time.monotonic() + UNSENT_SECONDS
    while (count := _unsent(container.init)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if count:
        raise CaptureError(f"{count} bytes wait in connections between the worker's processes: capture it while it is idle")


def _unsent(init: int) -> int:
    """Bytes that were sent and not taken, over all established connections that have both their ends here."""
    queued: dict[tuple[str, str], int] = {}
    for name in ("tcp", "tcp6"):
        try:
            lines = (processes.PROC / str(init) / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, remote, state, queues, *_ = line.split()
            if state == "01":
                queued[local, remote] = int(queues.partition(":")[0], 16)
    return sum(count for (local, remote), count in queued.items() if (remote, local) in queued)


def _namespace(pid: int, name: str) -> str:
    try:
        return os.readlink(processes.PROC / str(pid) / "ns" / name)  # noqa: PTH115 - a plain string is enough
    except OSError:
        return ""


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    for path in (processes.PROC / str(pid) / "task").glob("*/children"):
        try:
            found |= {int(word) for word in path.read_text().split()}
        except OSError:
            continue
    return found


def _status(pid: int) -> dict[str, str]:
    try:
        lines = (processes.PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _capable(pid: int, capability: int) -> bool:
    return bool(int(_status(pid).get("CapEff", "0"), 16) >> capability & 1)


def _device(path: Path) -> int:
    try:
        return path.stat().st_dev
    except OSError:
        return -1
