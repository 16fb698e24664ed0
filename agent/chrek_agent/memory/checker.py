"""Run as a program by chrek_agent.memory.checking: compares chunks in packs with their digests, where they lie.

Standard input says what to compare; the answer is the numbers of those that are not, or cannot be, found right.
"""

import json
import sys
import threading
from contextlib import suppress
from pathlib import Path

from chrek_agent.memory.files import PackFiles
from chrek_agent.memory.pool import work_off
from chrek_agent.store.chunking import digest, from_bitmap, scatter

THREADS = 2


def main() -> None:
    """Reads the order, works, and answers."""
    order = json.load(sys.stdin)
    packs = [Path(path) for path in order["packs"]]
    bad: list[int] = []
    with PackFiles(mapped=True) as files:

        def check(job: list[int | str], buffer: memoryview) -> None:
            number, pack, offset, stored, length, bitmap, name = job
            with suppress(OSError):
                dense = files.read(packs[int(pack)], int(offset), int(stored), buffer)
                if dense is not None:
                    extents = from_bitmap(bytes.fromhex(str(bitmap)), int(length))
                    if digest(int(length), scatter(extents, dense)).hex() == name:
                        return
            bad.append(int(number))

        work_off(order["jobs"], check, threads=THREADS, stop=threading.Event())
    sys.stdout.write(json.dumps(bad))


if __name__ == "__main__":
    main()
