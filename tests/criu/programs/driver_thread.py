"""A thread with the name of the CUDA driver's, which copies as that does: 2 MiB at a time, by the C library's memcpy.

It says `copied`, with the most threads that it saw and the mappings of the library's file, whenever a file `copy` is there.
"""

import contextlib
import ctypes
import mmap
import pathlib
import random
import threading
import time

SIZE, PIECE = 64 << 20, 2 << 20
libc = ctypes.CDLL(None)
libc.memcpy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
ASKED = pathlib.Path("/checkpoint-signal/copy")


def helpers():
    names = []
    for task in pathlib.Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # It has just ended.
            names.append((task / "comm").read_text().strip())
    return names.count("chrek-copy")


def mappings():
    return pathlib.Path("/proc/self/maps").read_text().count("driver_copy")


def run():
    libc.prctl(15, b"cuda00001400006", 0, 0, 0)
    source, target = mmap.mmap(-1, SIZE), mmap.mmap(-1, SIZE)
    source[:] = random.Random(7).randbytes(PIECE) * (SIZE // PIECE)
    begin, to = (ctypes.addressof(ctypes.c_char.from_buffer(one)) for one in (source, target))
    print("ready", mappings(), flush=True)
    while True:
        if ASKED.exists():
            most = 0
            for round_ in range(3):
                for offset in range(0, SIZE - PIECE, PIECE):
                    libc.memcpy(to + offset + round_ * 7, begin + offset, PIECE)
                    most = max(most, helpers())
                assert target[round_ * 7 : round_ * 7 + SIZE - PIECE] == source[: SIZE - PIECE]
            ASKED.unlink()
            print("copied", most, mappings(), flush=True)
        time.sleep(0.05)


threading.Thread(target=run).start()
