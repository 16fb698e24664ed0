"""Run as a program by chrek_agent.memory.crew: fills a share of a restored tree's memory.

The first line of standard input says what to write, and comes while CRIU is still busy; the second one where to. What cannot
be read, is not what was captured or cannot be written is answered as left undone: whoever asked sees to it himself and says why.
"""

import json
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from chrek_agent.container.processes import Process
from chrek_agent.memory.access import ProcessMemory
from chrek_agent.memory.files import PackFiles
from chrek_agent.memory.pool import work_off
from chrek_agent.store.chunking import digest, from_bitmap, scatter


class Share:
    """One filler's part of the work; its jobs are as chrek_agent.memory.crew describes them."""

    def __init__(self, order: dict[str, Any], stack: ExitStack, places: list[dict[str, Any]]) -> None:
        self._files = stack.enter_context(PackFiles(mapped=True))
        self._packs = [Path(path) for path in order["packs"]]
        self._memory = [stack.enter_context(ProcessMemory(Process(**place))) for place in places]
        self._lock = threading.Lock()
        self.left: list[int] = []
        self.written = 0

    @property
    def forced(self) -> int:
        """Bytes that needed force."""
        return sum(memory.forced for memory in self._memory)

    def fill(self, job: list[Any], buffer: memoryview) -> None:
        """Does one job, or notes that it is left."""
        number, process, pack, offset, stored, length, name, bitmap, address = job
        try:
            extents = from_bitmap(bytes.fromhex(bitmap), length)
            dense = self._files.read(self._packs[pack], offset, stored, buffer)
            done = dense is not None and digest(length, scatter(extents, dense)).hex() == name
            if done and dense is not None:
                self._memory[process].write([(address + start, count) for start, count in extents], dense)
        except OSError:
            done = False
        with self._lock:
            if done:
                self.written += stored
            else:
                self.left.append(number)


def main() -> None:
    """Reads both lines, works, and answers with one."""
    order = json.loads(sys.stdin.readline())
    line = sys.stdin.readline()
    if not line:
        return  # The restore has failed meanwhile.
    with ExitStack() as stack:
        share = Share(order, stack, json.loads(line))
        work_off(order["jobs"], share.fill, threads=order["threads"], stop=threading.Event())
        sys.stdout.write(json.dumps({"left": share.left, "written": share.written, "forced": share.forced}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
