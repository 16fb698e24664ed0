# Plain calls: what they do to the kernel is the point.
# ruff: noqa: PTH103, PTH108, PTH115, PTH118, PTH123, PTH208, PTH211, SIM115
"""Features of a process and its files."""

import array
import fcntl
import mmap
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time

from feature import LIBC, feature


@feature
def threads():
    counts = [0] * 16

    def work(number):
        while True:
            counts[number] += 1
            time.sleep(0.01)

    for number in range(16):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    while True:
        yield
        before = list(counts)
        time.sleep(0.2)
        assert all(now > then for then, now in zip(before, counts, strict=True)), "a thread stands still"


@feature
def deleted_files():
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "deleted")
    file = open(path, "w+b")  # It is to stay open.
    file.write(b"d" * 3_000_000)
    file.flush()
    os.unlink(path)
    linked, other = os.path.join(directory, "linked"), os.path.join(directory, "other")
    second = open(linked, "w+b")  # It is to stay open.
    second.write(b"linked")
    second.flush()
    os.link(linked, other)
    os.unlink(linked)
    nameless = os.open(directory, os.O_TMPFILE | os.O_RDWR)
    os.write(nameless, b"nameless")
    mapped = mmap.mmap(file.fileno(), 4096)
    while True:
        yield
        assert os.pread(file.fileno(), 10, 2_999_990) == b"d" * 10
        assert os.pread(second.fileno(), 10, 0) == b"linked"
        assert os.pread(nameless, 10, 0) == b"nameless"
        assert mapped[:1] == b"d"
        assert not [name for name in os.listdir(directory) if name.startswith("link_remap")]


@feature
def mapped_files():
    path = os.path.join(tempfile.mkdtemp(), "mapped")
    with open(path, "wb") as file:
        file.write(b"m" * 65536)
    with open(path, "r+b") as file:
        shared = mmap.mmap(file.fileno(), 65536)
        private = mmap.mmap(file.fileno(), 65536, flags=mmap.MAP_PRIVATE)
    private[:7] = b"private"
    while True:
        shared[:6] = b"shared"
        yield
        assert shared[:6] == b"shared"
        assert private[:7] == b"private"
        with open(path, "rb") as file:
            assert file.read(6) == b"shared"


@feature
def file_locks():
    directory = tempfile.mkdtemp()
    held = open(os.path.join(directory, "flock"), "w")  # It is to stay open.
    fcntl.flock(held, fcntl.LOCK_EX)
    posix = open(os.path.join(directory, "posix"), "w")  # It is to stay open.
    fcntl.lockf(posix, fcntl.LOCK_EX)
    try_it = (
        "import fcntl, sys\n"
        "try:\n    fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n    print('flock was free')\n"
        "except OSError:\n    pass\n"
        "try:\n    fcntl.lockf(open(sys.argv[2], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n    print('posix was free')\n"
        "except OSError:\n    pass\n"
    )
    while True:
        yield
        command = [sys.executable, "-c", try_it, held.name, posix.name]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert not found, found


@feature
def multiprocess_fork():
    here, there = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=_echo, args=(there,), daemon=True)
    process.start()
    while True:
        yield
        here.send("hello")
        assert here.recv() == "hello"
        assert process.is_alive()


@feature
def multiprocess_spawn():
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_echo, args=(there,), daemon=True)
    process.start()
    here.send("started")
    assert here.recv() == "started"
    while True:
        yield
        here.send("hello")
        assert here.recv() == "hello"


def _echo(pipe):
    while True:
        pipe.send(pipe.recv())


@feature
def children():
    """A subprocess, and one that has ended and is not reaped."""
    running = subprocess.Popen(["/bin/sleep", "1000"])
    zombie = os.fork()
    if zombie == 0:
        os._exit(9)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    yield
    assert os.waitstatus_to_exitcode(os.waitpid(zombie, 0)[1]) == 9
    while True:
        assert running.poll() is None
        yield


@feature
def timers():
    """Interval timers go on, and monotonic time neither leaps nor runs backwards."""
    ticks = [0]
    signal.signal(signal.SIGALRM, lambda *_: ticks.__setitem__(0, ticks[0] + 1))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    begin, wall = time.monotonic(), time.time()
    while True:
        yield
        before = ticks[0]
        time.sleep(0.3)
        assert ticks[0] > before, "the interval timer does not tick"
        passed = time.monotonic() - begin
        assert 0 < passed < time.time() - wall + 5, f"{passed:.1f} s have passed"


@feature
def limits():
    wanted = (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, wanted)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        yield
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == wanted
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


@feature
def affinity():
    """Of the process and of a thread, each its own."""
    seen = array.array("i", [-1])
    wanted = sorted(os.sched_getaffinity(0))
    go, asked, told = threading.Event(), threading.Event(), threading.Event()

    def pinned():
        os.sched_setaffinity(0, {wanted[0]})
        go.set()
        while True:
            asked.wait()
            asked.clear()
            seen[0] = len(os.sched_getaffinity(0))
            told.set()

    threading.Thread(target=pinned, daemon=True).start()
    go.wait()
    os.sched_setaffinity(0, {wanted[-1]})
    while True:
        yield
        told.clear()
        asked.set()
        told.wait()
        assert seen[0] == 1, "the thread may run anywhere"
        assert os.sched_getaffinity(0) == {wanted[-1]}, "the process may run anywhere"


@feature
def priority():
    os.nice(3)
    LIBC.prctl(15, b"named-by-prctl", 0, 0, 0)
    os.umask(0o027)
    while True:
        yield
        assert os.nice(0) == 3
        with open("/proc/self/comm") as comm:
            assert comm.read() == "named-by-prctl\n"
        assert os.umask(0o027) == 0o027


@feature
def oom_score():
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
    while True:
        yield
        with open("/proc/self/oom_score_adj") as file:
            assert file.read() == "500\n"


@feature
def written_files():
    os.makedirs("/srv/written", exist_ok=True)
    with open("/srv/written/ä file", "w") as file:
        file.write("content")
    with open(b"/srv/written/\xff\xfe", "wb") as file:
        file.write(b"bytes")
    os.setxattr("/srv/written/ä file", "user.chrek", b"kept")
    os.symlink("/nowhere", "/srv/written/link")
    while True:
        yield
        assert os.getxattr("/srv/written/ä file", "user.chrek") == b"kept"
        assert os.readlink("/srv/written/link") == "/nowhere"
        with open(b"/srv/written/\xff\xfe", "rb") as file:
            assert file.read() == b"bytes"


@feature
def podinfo_file():
    """Tells what is in a file that each pod has of its own."""
    yield
    while True:
        with open("/srv/podinfo") as file:
            yield file.read()
