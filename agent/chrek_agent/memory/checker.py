"""Run as a program by chrek_agent.memory.checking: compares chunks in packs with their digests, where they lie.

Standard input says what to compare; the answer is the numbers of those that are not, or cannot be, found right. It gives way to
whoever restores, and it imports little, for that one waits for it in the end.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from chrek_agent.memory.buffer import chunk_buffer
from chrek_agent.memory.files import PackFiles
from chrek_agent.store.chunking import digest, from_bitmap, scatter

THREADS = 2
_NICE = 10

Job = list[int | str]


def main() -> None:
    """Reads the order, works, and answers."""
    os.nice(_NICE)
    order = json.load(sys.stdin)
    packs = [Path(path) for path in order["packs"]]
    jobs: list[Job] = order["jobs"]
    # Not mapped: the faults of a mapping take longer than a copy into what the processor has at hand.
    with PackFiles() as files:

        def bad(share: list[Job]) -> list[int]:
            buffer = chunk_buffer()
            return [int(job[0]) for job in share if not _is_right(files, packs, job, buffer)]

        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(bad, (jobs[number::THREADS] for number in range(THREADS)))
        sys.stdout.write(json.dumps([number for share in found for number in share]))


def _is_right(files: PackFiles, packs: list[Path], job: Job, buffer: memoryview) -> bool:
    _, pack, offset, stored, length, bitmap, name = job
    with suppress(OSError):
        dense = files.read(packs[int(pack)], int(offset), int(stored), buffer)
        if dense is not None:
            extents = from_bitmap(bytes.fromhex(str(bitmap)), int(length))
            return digest(int(length), scatter(extents, dense)).hex() == name
    return False


if __name__ == "__main__":
    main()
