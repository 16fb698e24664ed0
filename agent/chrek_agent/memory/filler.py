"""Run as a program by chrek_agent.memory.crew: fills a share of a restored tree's memory.

The first line of standard input says what to write, and comes while CRIU is still busy; the second one where to. What cannot
be read, is not what was captured or cannot be written is answered as left undone: whoever asked sees to it himself and says why.
"""

import json
import mmap
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from chrek_agent.container.processes import Process
from chrek_agent.errors import ArtifactError
from chrek_agent.memory.access import ProcessMemory
from chrek_agent.memory.files import PackFiles
from chrek_agent.memory.pool import work_off
from chrek_agent.memory.userfault import Userfault, borrow
from chrek_agent.store.chunking import CHUNK, digest, from_bitmap, scatter
from chrek_agent.store.sealing import Seal, unseal


class Share:
    """One filler's part of the work; its jobs are as chrek_agent.memory.crew describes them."""

    def __init__(self, packs: list[str], stack: ExitStack, places: list[tuple[dict[str, Any], int]]) -> None:
        self._files = stack.enter_context(PackFiles(mapped=True))
        self._packs = [Path(path) for path in packs]
        self._memory = [stack.enter_context(ProcessMemory(Process(**place))) for place, _ in places]
        self._late = [Userfault(borrow(os.getppid(), descriptor)) if descriptor >= 0 else None for _, descriptor in places]
        self._lock = threading.Lock()
        self._own = threading.local()
        self._left: list[int] = []
        self._written = 0

    def work(self, jobs: list[list[Any]], *, threads: int, late: bool) -> dict[str, Any]:
        """Does these; returns what has come of it."""
        self._left, self._written = [], 0
        before = self._forced
        work_off(jobs, lambda job, buffer: self._fill(job, buffer, late=late), threads=threads, stop=threading.Event())
        return {"left": self._left, "written": self._written, "forced": self._forced - before}

    @property
    def _forced(self) -> int:
        return sum(memory.forced for memory in self._memory)

    def _fill(self, job: list[Any], buffer: memoryview, *, late: bool) -> None:
        number, process, pack, offset, stored, length, name, bitmap, address, seal = job
        try:
            extents = from_bitmap(bytes.fromhex(bitmap), length)
            dense = self._files.read(self._packs[pack], offset, stored, buffer)
            if seal and dense is not None:
                dense = self._opened(seal, dense, buffer)
            done = dense is not None and digest(length, scatter(extents, dense)).hex() == name
            if done and dense is not None:
                userfault = self._late[process] if late else None
                if userfault is not None:
                    userfault.put(address, length, extents, dense)
                else:
                    self._memory[process].write([(address + start, count) for start, count in extents], dense)
        except (OSError, ArtifactError):
            done = False
        with self._lock:
            if done:
                self._written += stored
            else:
                self._left.append(number)

    def _opened(self, seal: list[str], sealed: memoryview, buffer: memoryview) -> memoryview:
        """In the thread's buffer or, if it is read into that, another of its own. Raises ArtifactError."""
        if sealed.obj is buffer.obj:
            if not hasattr(self._own, "view"):
                self._own.view = memoryview(mmap.mmap(-1, CHUNK))
            buffer = self._own.view
        return unseal(Seal(*map(bytes.fromhex, seal)), sealed, buffer)


def main() -> None:
    """Reads both lines, works, and answers with a line for what is wanted at once and one for what may come late."""
    order = json.loads(sys.stdin.readline())
    line = sys.stdin.readline()
    if not line:
        return  # The restore has failed meanwhile.
    with ExitStack() as stack:
        share = Share(order["packs"], stack, json.loads(line))
        for late, (jobs, threads) in enumerate(order["shares"]):
            sys.stdout.write(json.dumps(share.work(jobs, threads=threads, late=bool(late))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
