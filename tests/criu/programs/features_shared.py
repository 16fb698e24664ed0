# Plain calls: what they do to the kernel is the point.
# ruff: noqa: PTH118, PTH119, PTH123, SIM115
"""Features that two ends share: pipes, sockets, descriptors that are waited for, memory."""

import contextlib
import ctypes
import fcntl
import mmap
import multiprocessing
import os
import select
import signal
import socket
import struct
import tempfile
import threading
import time
from multiprocessing import shared_memory

from feature import LIBC, call, feature


@feature
def pipes():
    reading, writing = os.pipe()
    os.write(writing, b"before the capture")
    yield
    assert os.read(reading, 100) == b"before the capture"
    while True:
        os.write(writing, b"after")
        assert os.read(reading, 100) == b"after"
        yield


@feature
def fifo():
    path = os.path.join(tempfile.mkdtemp(), "fifo")
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    while True:
        os.write(descriptor, b"x")
        yield
        assert os.read(descriptor, 10) == b"x"


@feature
def unix_sockets():
    left, right = socket.socketpair()
    left.send(b"in the queue")
    path = os.path.join(tempfile.mkdtemp(), "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    server, _ = listener.accept()
    abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    abstract.bind("\0chrek-features")
    yield
    assert right.recv(100) == b"in the queue"
    while True:
        client.send(b"hello")
        assert server.recv(100) == b"hello"
        with socket.socket(socket.AF_UNIX) as another:
            another.connect(path)
            listener.accept()[0].close()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"datagram", "\0chrek-features")
        assert abstract.recv(100) == b"datagram"
        yield


@feature
def polls():
    """epoll, eventfd, timerfd and signalfd at once."""
    event = call("eventfd", 3, 0)
    timer = call("timerfd_create", 1, 0)
    mask = (ctypes.c_ulong * 16)(1 << (signal.SIGUSR2 - 1))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    signals = call("signalfd", -1, ctypes.byref(mask), 0)
    poll = select.epoll()
    for descriptor in (event, timer, signals):
        poll.register(descriptor, select.EPOLLIN)
    while True:
        yield
        assert struct.unpack("Q", os.read(event, 8))[0] == 3
        call("timerfd_settime", timer, 0, struct.pack("qqqq", 0, 0, 0, 1_000_000), None)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        deadline, ready = time.monotonic() + 5, set()
        while ready < {timer, signals} and time.monotonic() < deadline:
            ready |= {descriptor for descriptor, _ in poll.poll(0.1)}
        assert {timer, signals} <= ready, "epoll reports neither timer nor signal"
        os.read(timer, 8)
        os.read(signals, 128)
        os.write(event, struct.pack("Q", 3))


@feature
def udp():
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    while True:
        yield
        sender.send(b"datagram")
        assert receiver.recv(100) == b"datagram"


def _connection(address: str):
    listener = socket.create_server((address, 0))
    client = socket.create_connection(listener.getsockname(), timeout=5)
    server, _ = listener.accept()
    server.settimeout(5)
    return listener, client, server


@feature
def loopback_tcp():
    """An established connection inside the tree, with data on its way."""
    listener, client, server = _connection("127.0.0.1")
    client.send(b"before")
    yield
    assert server.recv(6) == b"before"
    while True:
        client.send(b"ping")
        assert server.recv(100) == b"ping"
        server.send(b"pong")
        assert client.recv(100) == b"pong"
        socket.create_connection(listener.getsockname(), timeout=5).close()
        listener.accept()[0].close()
        yield


@feature
def full_loopback_tcp():
    """A connection whose buffers are full on both ends."""
    _, client, server = _connection("127.0.0.1")
    client.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += client.send(b"x" * 65536)
    yield
    received = 0
    while received < sent:
        received += len(server.recv(1 << 20))
    while True:
        yield


@feature
def own_address_tcp():
    """A connection to the pod's own address, which is another one after a restore: it must end there, and not hang."""
    _, client, server = _connection(os.environ["POD_IP"])
    while True:
        yield
        try:
            client.send(b"x")
        except BrokenPipeError:
            assert server.recv(1) == b""
        else:
            assert server.recv(1) == b"x"


@feature
def tcp6():
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    client = socket.create_connection(listener.getsockname()[:2], timeout=5)
    server, _ = listener.accept()
    while True:
        yield
        client.send(b"six")
        assert server.recv(100) == b"six"


@feature
def posix_ipc():
    memory = shared_memory.SharedMemory(create=True, size=1 << 20)
    memory.buf[:5] = b"hello"
    context = multiprocessing.get_context("spawn")
    lock, value = context.Lock(), context.Value("i", 7)
    while True:
        yield
        assert bytes(memory.buf[:5]) == b"hello"
        other = shared_memory.SharedMemory(memory.name)
        assert bytes(other.buf[:5]) == b"hello"
        other.close()
        with lock:
            assert value.value == 7


@feature
def sysv_ipc():
    memory = call("shmget", 0x4EC, 8192, 0o1600)
    LIBC.shmat.restype = ctypes.c_void_p
    address = LIBC.shmat(memory, None, 0)
    ctypes.memmove(address, b"shared", 6)
    semaphore = call("semget", 0x4EC, 1, 0o1600)
    queue = call("msgget", 0x4EC, 0o1600)
    call("semctl", semaphore, 0, 16, 5)
    yield
    while True:
        assert ctypes.string_at(address, 6) == b"shared"
        assert call("shmget", 0x4EC, 8192, 0) == memory, "the segment has another number"
        assert call("semctl", semaphore, 0, 12) == 5, "the semaphore has lost its value"
        call("msgget", 0x4EC, 0)
        assert queue >= 0
        yield


@feature
def shm_files():
    with open("/dev/shm/kept", "wb") as file:
        file.write(b"kept" * 1000)
    descriptor = os.open("/dev/shm/kept", os.O_RDWR)
    mapped = mmap.mmap(descriptor, 4000)
    gone = tempfile.TemporaryFile(dir="/dev/shm")  # It is to stay open.
    gone.write(b"gone")
    gone.flush()
    while True:
        yield
        assert mapped[:4] == b"kept"
        mapped[4:8] = b"seen"
        with open("/dev/shm/kept", "rb") as file:
            assert file.read(8) == b"keptseen"
        mapped[4:8] = b"kept"
        gone.seek(0)
        assert gone.read() == b"gone"


@feature
def memfd():
    descriptor = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"sealed")
    fcntl.fcntl(descriptor, 1033, 0x8)  # F_ADD_SEALS: F_SEAL_WRITE
    while True:
        yield
        assert os.pread(descriptor, 10, 0) == b"sealed"
        assert fcntl.fcntl(descriptor, 1034) == 0x8


@feature
def anonymous_shared():
    shared = mmap.mmap(-1, 1 << 20)
    shared[:4] = b"anon"
    child = os.fork()
    if child == 0:
        while True:
            shared[8:16] = struct.pack("Q", struct.unpack("Q", shared[8:16])[0] + 1)
            time.sleep(0.01)
    while True:
        yield
        before = shared[8:16]
        time.sleep(0.1)
        assert shared[:4] == b"anon"
        assert shared[8:16] != before, "the child does not write"


@feature
def huge_page_advice():
    """A region that asked for huge pages."""
    region = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    region.madvise(mmap.MADV_HUGEPAGE)
    region[: 8 << 20] = b"h" * (8 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(region))
    while True:
        yield
        assert region[-1:] == b"h"
        found = False
        with open("/proc/self/smaps") as smaps:
            inside = False
            for line in smaps:
                fields = line.split()
                if "-" in fields[0] and ":" not in fields[0]:
                    first, last = (int(part, 16) for part in fields[0].split("-"))
                    inside = first <= address < last
                elif inside and fields[0] == "VmFlags:":
                    found = "hg" in fields
        assert found, "the advice is lost"


@feature
def inotify():
    directory = tempfile.mkdtemp()
    descriptor = call("inotify_init1", os.O_NONBLOCK)
    call("inotify_add_watch", descriptor, directory.encode(), 0x100)
    while True:
        yield
        path = os.path.join(directory, str(time.monotonic_ns()))
        with open(path, "w"):
            pass
        assert os.path.basename(path).encode() in os.read(descriptor, 4096)
