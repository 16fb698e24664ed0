"""Chunks compared with their digests beside other work: by several processes, for one interpreter's lock holds up its threads."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from chrek_agent.memory.checker import THREADS, Job
from chrek_agent.memory.packs import RAW
from chrek_agent.memory.pool import Stopped, default_threads, work_off
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.reading import Chunk

LOG: Final = logging.getLogger(__name__)
_MOST: Final = 16
"""Threads of all checkers; beyond that memory itself is the limit."""
_LEAST: Final = 1 << 30
"""Bytes for which it is worth while to start them."""
_POLL_SECONDS: Final = 0.05


class Checkers:
    """Some processes, started at once, that wait for chunks to check. To be closed.

    Args:
        size: Bytes that there will be to check, about.
    """

    def __init__(self, size: int) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        count = min(_MOST, len(os.sched_getaffinity(0))) // THREADS
        if count < 2 or size < _LEAST:
            return
        command = [sys.executable, "-P", "-m", "chrek_agent.memory.checker"]
        pipe = subprocess.PIPE
        try:
            self._running += (subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) for _ in range(count))
        except OSError as error:
            LOG.warning("chunks are checked by the agent alone, which takes longer: %s", error)
            self.close()

    def check(self, artifact: Artifact, chunks: Sequence[Chunk], *, stop: threading.Event) -> None:
        """Reads all of them and compares them with their digests; once, and blocks.

        Args:
            artifact: That they are of.
            chunks: In the order in which they are best read.
            stop: Ends it from outside.

        Raises:
            ArtifactError: One is not what was captured.
            Stopped: `stop` was set.
        """
        left = self._ask(chunks, stop) if self._running else chunks
        work_off(
            left, lambda chunk, buffer: artifact.check(chunk, artifact.fetch(chunk, buffer)), threads=default_threads(), stop=stop
        )

    def _ask(self, chunks: Sequence[Chunk], stop: threading.Event) -> list[Chunk]:
        """What is not for them, and what they did not find right: whoever reads it again says why."""
        mine = [number for number, chunk in enumerate(chunks) if chunk.place.path is not None and chunk.place.codec == RAW]
        packs = sorted({str(chunks[number].place.path) for number in mine})
        jobs = _described(chunks, mine, packs)
        count = len(self._running)
        with ThreadPoolExecutor(count, thread_name_prefix="checking") as pool:
            asked = [pool.submit(_answer, checker, packs, jobs[index::count]) for index, checker in enumerate(self._running)]
            while wait(asked, _POLL_SECONDS).not_done:
                if stop.is_set():
                    self.close()
                    raise Stopped
        bad = {number for answer in asked for number in answer.result()}
        return [chunks[number] for number in sorted({*range(len(chunks))} - {*mine} | bad)]

    def close(self) -> None:
        """Ends them."""
        while self._running:
            checker = self._running.pop()
            checker.kill()
            checker.wait()
            for stream in (checker.stdin, checker.stdout):
                if stream is not None:
                    stream.close()


def _described(chunks: Sequence[Chunk], mine: Sequence[int], packs: Sequence[str]) -> list[Job]:
    numbers = {path: number for number, path in enumerate(packs)}
    found: list[Job] = []
    for number in mine:
        chunk, place = chunks[number], chunks[number].place
        where = [numbers[str(place.path)], place.offset, place.stored, chunk.length]
        found.append([number, *where, chunk.record.bitmap.hex(), chunk.digest.hex()])
    return found


def _answer(checker: "subprocess.Popen[bytes]", packs: Sequence[str], jobs: list[Job]) -> list[int]:
    """What a checker does not find right: all of its share, if it died."""
    answer, _ = checker.communicate(json.dumps({"packs": packs, "jobs": jobs}).encode())
    try:
        found: list[int] = json.loads(answer)
    except ValueError:
        return [int(job[0]) for job in jobs]
    return found
