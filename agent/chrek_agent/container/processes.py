"""Processes as /proc shows them from the host: the members of a container's PID namespace, and their signals."""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `pid` and `parent` are the host's numbers, `inner` is its number in its own PID namespace."""

    pid: int
    parent: int
    inner: int
    name: str
    state: str
    start: int
    """Clock ticks since boot; with `pid` it names the process for ever."""


def read_process(pid: int) -> Process | None:
    """The process, or None when it is gone."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
        status = (PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    inner = next((line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")), str(pid))
    return Process(pid=pid, parent=int(fields[1]), inner=int(inner), name=name, state=fields[0], start=int(fields[19]))


def started_at(process: Process) -> float:
    """When it started, in seconds of CLOCK_BOOTTIME, to a hundredth."""
    return process.start / os.sysconf("SC_CLK_TCK")


def is_same(pid: int, start: int) -> bool:
    """`pid` is still the process that started then; one that only waits to be reaped is gone."""
    process = read_process(pid)
    return process is not None and process.start == start and process.state not in ("Z", "X")


def mark(pid: int, start: int) -> str:
    """A name for a process that no other has had, on any node: for what it leaves where several nodes write."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    return f"{boot}-{pid}-{start}"


def own_mark() -> str:
    """The mark of this process."""
    me = read_process(os.getpid())
    return mark(os.getpid(), me.start if me else 0)


def namespace_members(init: int) -> list[Process]:
    """All processes in the PID namespace of `init`, itself included; nested namespaces are not looked into."""
    try:
        space = str((PROC / str(init) / "ns" / "pid").readlink())
    except OSError:
        return []
    found = []
    for entry in os.listdir(PROC):  # noqa: PTH208 - thousands of entries: plain names are enough
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            if str((PROC / entry / "ns" / "pid").readlink()) == space:
                process = read_process(int(entry))
                if process is not None:
                    found.append(process)
    return found


def beside(init: int) -> list[Process]:
    """All processes of the container whose PID 1 is `init`, without that one.

    None where `init` is not PID 1 of a namespace of its own: whoever signals them all would reach the whole node.
    """
    members = namespace_members(init)
    first = any(process.pid == init != 1 and process.inner == 1 for process in members)
    return [process for process in members if process.pid != init] if first else []


def tree(root: int, members: list[Process]) -> list[Process]:
    """`root` and its descendants among `members`, parents first."""
    children: dict[int, list[Process]] = {}
    for member in members:
        children.setdefault(member.parent, []).append(member)
    found = [member for member in members if member.pid == root]
    for process in found:
        found += children.get(process.pid, [])
    return found


def send(pid: int, number: signal.Signals) -> None:
    """Signals a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
