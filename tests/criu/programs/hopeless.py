# Plain calls: what they do to the kernel is the point.
# ruff: noqa: PTH123, SIM115
"""Workers that cannot be captured, each for one reason: `hopeless.py NAME` sets it up, says so and waits. Standard library."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
SECRETS: list[object] = []


def call(number: int, *arguments: object) -> int:
    result = LIBC.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def io_uring() -> None:
    call(425, 8, ctypes.create_string_buffer(256))


def perf_event() -> None:
    attributes = (ctypes.c_uint32 * 32)(1, 128)  # A software event: the CPU's clock.
    attributes[10] = 0x60  # Not the kernel, not the hypervisor.
    call(298, attributes, 0, -1, -1, 0)


def userfaultfd() -> None:
    call(323, 1)


def bpf() -> None:
    call(321, 0, (ctypes.c_uint32 * 32)(2, 4, 4, 1), 128)


def landlock() -> None:
    call(444, (ctypes.c_uint64 * 1)(1), 8, 0)


def message_queue() -> None:
    call(240, b"chrek-queue", os.O_CREAT | os.O_RDWR, 0o600, None)


def fuse() -> None:
    with contextlib.suppress(FileExistsError):
        os.mknod("/dev/fuse", 0o600 | 0o020000, os.makedev(10, 229))
    SECRETS.append(open("/dev/fuse", "r+b", buffering=0))


def pid_namespace() -> None:
    call(272, 0x20000000)
    if os.fork() == 0:
        signal.pause()


def mount_namespace() -> None:
    call(272, 0x00020000)


def traced() -> None:
    if os.fork() == 0:
        LIBC.ptrace(0, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        signal.pause()
    time.sleep(0.1)


def daemon() -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.pause()
        os._exit(0)
    with contextlib.suppress(ChildProcessError):
        os.wait()


def outer_socket() -> None:
    end = socket.socket(socket.AF_UNIX)
    end.connect("/srv/outer")
    SECRETS.append(end)


def unmounted() -> None:
    SECRETS.append(open("/srv/file"))
    if LIBC.umount2(b"/srv", 2) != 0:
        raise OSError(ctypes.get_errno(), "umount")


def full_buffers() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    SECRETS.extend((client, listener.accept()))
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.send(b"x" * 65536)


def nothing() -> None:
    pass


REASONS: dict[str, Callable[[], None]] = {name: value for name, value in globals().items() if callable(value)}
REASONS[sys.argv[1]]()
sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    time.sleep(0.01)
