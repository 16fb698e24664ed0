"""A worker with memory of every kind at random: `maps.py SEED`. At SIGUSR1 it and its child say a digest of each area."""

import ctypes
import hashlib
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import threading
from pathlib import Path

PAGE = 4096
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
READ, WRITE = mmap.PROT_READ, mmap.PROT_WRITE
ANONYMOUS = mmap.MAP_ANONYMOUS
HUGEPAGE, NOHUGEPAGE = 14, 15
CHOICE = random.Random(int(sys.argv[1]))
AREAS: list[tuple[str, int, int]] = []
KEPT: list[int] = []


def area(name: str, pages: int, flags: int, descriptor: int = -1) -> int:
    address = LIBC.mmap(None, pages * PAGE, READ | WRITE, flags, descriptor, 0)
    AREAS.append((f"{len(AREAS)}-{name}", address, pages * PAGE))
    return address


def paint(address: int, pages: int) -> None:
    """Stretches of content, of zeros that were written, and of nothing."""
    page = 0
    while page < pages:
        count = min(pages - page, CHOICE.choice((1, 2, 7, 64, 300, 1200)))
        what = CHOICE.choice(("content", "content", "content", "zeros", "hole", "sparse"))
        at = address + page * PAGE
        if what == "content":
            ctypes.memmove(at, CHOICE.randbytes(count * PAGE), count * PAGE)
        elif what == "zeros":
            ctypes.memset(at, 0, count * PAGE)
        elif what == "sparse":
            for index in range(0, count, 2):
                ctypes.memset(at + index * PAGE + 77, 1 + index % 250, 1)
        page += count


def file_area() -> None:
    """A private mapping of a file, partly written to: zeros over its content must not show the file again."""
    with tempfile.TemporaryFile(dir="/tmp") as file:
        pages = CHOICE.randrange(100, 900)
        file.write(CHOICE.randbytes(pages * PAGE))
        file.flush()
        paint(area("file", pages, mmap.MAP_PRIVATE, file.fileno()), pages)
        KEPT.append(os.dup(file.fileno()))


def memfd(mapped: bool) -> None:
    pages = CHOICE.randrange(100, 700)
    descriptor = os.memfd_create("maps")
    os.ftruncate(descriptor, pages * PAGE)
    KEPT.append(descriptor)
    if mapped:
        paint(area("memfd", pages, mmap.MAP_SHARED, descriptor), pages)
    else:
        os.pwrite(descriptor, CHOICE.randbytes(80 * PAGE), 11 * PAGE)


def anonymous(kind: int) -> None:
    pages = CHOICE.choice((3, 64, 65, 512, 1500, 4096))
    address = area("private" if kind == mmap.MAP_PRIVATE else "shared", pages, kind | ANONYMOUS)
    LIBC.madvise(address, pages * PAGE, CHOICE.choice((HUGEPAGE, NOHUGEPAGE, 0)))
    paint(address, pages)
    LIBC.mprotect(address, pages * PAGE, CHOICE.choice((READ | WRITE, READ | WRITE, READ, 0)))
    if CHOICE.random() < 0.3:
        # Two mappings where there was one.
        LIBC.mprotect(address + pages // 2 * PAGE, PAGE, READ)


def say(who: str) -> None:
    found = {}
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:  # It passes protections.
        for name, address, length in AREAS:
            found[name] = hashlib.blake2b(os.pread(memory.fileno(), length, address), digest_size=8).hexdigest()
    files = [hashlib.blake2b(os.pread(kept, 1 << 24, 0), digest_size=8).hexdigest() for kept in KEPT]
    os.write(1, (json.dumps({"who": who, "areas": found, "files": files}) + "\n").encode())


def serve(who: str) -> None:
    for _ in range(3):
        threading.Thread(target=signal.pause, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    while True:
        say(who)
        signal.sigwait({signal.SIGUSR1})


def main() -> None:
    for kind in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
        ctypes.memmove(area("large", 1030, kind | ANONYMOUS), CHOICE.randbytes(1030 * PAGE), 1030 * PAGE)
    for _ in range(6):
        anonymous(mmap.MAP_PRIVATE)
    for _ in range(3):
        anonymous(mmap.MAP_SHARED)
    file_area()
    memfd(mapped=True)
    memfd(mapped=False)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    if os.fork() == 0:
        # Private memory now differs from the parent's, page by page.
        for name, address, length in AREAS:
            if "private" in name and LIBC.mprotect(address, length, READ | WRITE) == 0 and CHOICE.random() < 0.6:
                paint(address, length // PAGE)
        serve("child")
    serve("parent")


main()
