"""A worker with private memory: at SIGUSR1 it and its child read all of it, as a program does, and say a digest of each area."""

import ctypes
import hashlib
import json
import mmap
import os
import random
import signal

PAGE = 4096
CHOICE = random.Random(11)
LIBC = ctypes.CDLL(None)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def area(pages: int, written: float) -> tuple[int, int]:
    """Pages of which some are written, one in eight of these with zeros."""
    address = LIBC.mmap(None, pages * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    for page in range(pages):
        if CHOICE.random() < written:
            ctypes.memmove(address + page * PAGE, bytes(PAGE) if page % 8 == 5 else CHOICE.randbytes(PAGE), PAGE)
    return address, pages * PAGE


def say(who: str) -> None:
    found = [hashlib.blake2b(ctypes.string_at(address, length), digest_size=8).hexdigest() for address, length in AREAS]
    os.write(1, (json.dumps({"who": who, "areas": found}) + "\n").encode())


AREAS = [area(1030, 1), area(3, 1), area(4096, 1), area(2048, 0.9), area(700, 0)]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
who = "parent" if os.fork() else "child"
if who == "child":
    # Private memory now differs from the parent's in places.
    ctypes.memmove(AREAS[2][0] + 100 * PAGE, CHOICE.randbytes(700 * PAGE), 700 * PAGE)
while True:
    say(who)
    signal.sigwait({signal.SIGUSR1})
