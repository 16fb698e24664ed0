"""The worker of benchmarks/restore.py: `restore_worker.py MIB FILE` holds random memory, one page in eight of it zeros, and appends
its checksum to the file when it is ready and at each SIGUSR1."""

import mmap
import signal
import sys
from pathlib import Path

from blake3 import blake3

STEP = 1 << 20


def main() -> None:
    size, file = int(sys.argv[1]) << 20, Path(sys.argv[2])
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, size, STEP):
        zeros = STEP // 8
        memory[offset : offset + STEP] = bytes(zeros) + blake3(offset.to_bytes(8, "little")).digest(length=STEP - zeros)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    while True:
        with file.open("a") as output:
            output.write(blake3(memory).hexdigest() + "\n")
        signal.sigwait({signal.SIGUSR1})


main()
