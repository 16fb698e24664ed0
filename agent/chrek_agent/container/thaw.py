"""What CRIU leaves in processes that it has stopped, undone from outside, before they run again.

A dump that leaves its tree stopped leaves the TCP sockets in repair mode and the links that it gave to deleted files; whoever kills
CRIU leaves the same. A restored socket whose connection has ended says so only once it is shut down.
"""

import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from chrek_agent.container import processes

_PIDFD_GETFD: Final = 438
_TCP_REPAIR: Final = 19
_TCP_INFO_STATE_CLOSED: Final = 7
_REMAP: Final = "link_remap."
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def thaw(init: int, stopped: Collection[int] = ()) -> None:
    """Lets a worker that was dumped, or whose dump was cut short, run on as if nothing had happened.

    What was `stopped` (PIDs in the container) by its own user before stays so; a dump that was cut short may have made it run.
    """
    members = processes.beside(init)
    for process in members:
        _each_tcp_socket(process.pid, _leave_repair)
        _remove_remaps(init, process.pid)
    for process in members:
        processes.send(process.pid, signal.SIGSTOP if process.inner in stopped else signal.SIGCONT)


def wake(init: int, stopped: Collection[int] = ()) -> None:
    """Lets a restored worker run, but for what was `stopped` (PIDs in the container) when it was captured.

    Connections that have ended are seen to have ended.
    """
    members = processes.beside(init)
    for process in members:
        _each_tcp_socket(process.pid, _shut_closed)
    for process in members:
        if process.inner not in stopped:
            processes.send(process.pid, signal.SIGCONT)


def _leave_repair(end: socket.socket) -> None:
    if end.getsockopt(socket.IPPROTO_TCP, _TCP_REPAIR):
        end.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 0)


def _shut_closed(end: socket.socket) -> None:
    if end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_INFO_STATE_CLOSED:
        end.shutdown(socket.SHUT_RDWR)


def _each_tcp_socket(pid: int, work: Callable[[socket.socket], None]) -> None:
    """Does it with each of the process's TCP sockets; a process or a socket that refuses is passed over."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            for number, target in _open_files(pid):
                if target.startswith("socket:"):
                    with contextlib.suppress(OSError), _borrowed(descriptor, number) as end:
                        if end.family in (socket.AF_INET, socket.AF_INET6) and end.proto == socket.IPPROTO_TCP:
                            work(end)
        finally:
            os.close(descriptor)


def _borrowed(pidfd: int, number: int) -> socket.socket:
    descriptor = _LIBC.syscall(_PIDFD_GETFD, pidfd, number, 0)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return socket.socket(fileno=descriptor)


def _open_files(pid: int) -> list[tuple[int, str]]:
    directory = processes.PROC / str(pid) / "fd"
    found = []
    with contextlib.suppress(OSError):
        for number in os.listdir(directory):  # noqa: PTH208 - a worker may hold thousands
            with contextlib.suppress(OSError):
                found.append((int(number), os.readlink(directory / number)))  # noqa: PTH115 - a plain string is enough
    return found


def _remove_remaps(init: int, pid: int) -> None:
    """Removes the links that CRIU has made beside open files that were deleted."""
    deleted = " (deleted)"
    directories = {os.path.dirname(target) for _, target in _open_files(pid) if target.endswith(deleted)}  # noqa: PTH120
    for directory in directories | {"/dev/shm"}:  # noqa: S108 - the container's own
        with contextlib.suppress(OSError):
            descriptor = _open_beneath(processes.PROC / str(init) / "root", directory)
            try:
                for name in os.listdir(descriptor):  # noqa: PTH208 - of a descriptor
                    if name.startswith(_REMAP):
                        os.unlink(name, dir_fd=descriptor)
            finally:
                os.close(descriptor)


def _open_beneath(root: Path, directory: str) -> int:
    """The container's directory, without following links, which its worker could lead anywhere. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY
    current = os.open(root, flags)
    for part in Path(directory).parts[1:]:
        try:
            following = os.open(part, flags | os.O_NOFOLLOW, dir_fd=current)
        finally:
            os.close(current)
        current = following
    return current
