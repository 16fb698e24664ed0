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

from chrek_agent.memory.checker import THREADS
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


def check_chunks(artifact: Artifact, chunks: Sequence[Chunk], *, stop: threading.Event) -> None:
    """Reads all of them and compares them with their digests; blocks.

    Args:
        artifact: That they are of.
        chunks: In the order in which they are best read.
        stop: Ends it from outside.

    Raises:
        ArtifactError: One is not what was captured.
        Stopped: `stop` was set.
    """
    size = min(_MOST, len(os.sched_getaffinity(0))) // THREADS
    left = chunks
    if size >= 2 and sum(chunk.place.stored for chunk in chunks) >= _LEAST:
        try:
            left = _by_processes(chunks, size, stop)
        except OSError as error:
            LOG.warning("chunks are checked by the agent alone, which takes longer: %s", error)
    work_off(left, lambda chunk, buffer: artifact.check(chunk, artifact.fetch(chunk, buffer)), threads=default_threads(), stop=stop)


def _by_processes(chunks: Sequence[Chunk], size: int, stop: threading.Event) -> list[Chunk]:
    """Those that are not for them, and those that they did not find right: whoever reads them again says why."""
    mine = [number for number, chunk in enumerate(chunks) if chunk.place.path is not None and chunk.place.codec == RAW]
    packs = sorted({str(chunks[number].place.path) for number in mine})
    numbers = {path: number for number, path in enumerate(packs)}

    def described(number: int) -> list[int | str]:
        chunk = chunks[number]
        place = chunk.place
        where = [numbers[str(place.path)], place.offset, place.stored, chunk.length]
        return [number, *where, chunk.record.bitmap.hex(), chunk.digest.hex()]

    shares = [[described(number) for number in mine[index::size]] for index in range(size)]
    command = [sys.executable, "-P", "-m", "chrek_agent.memory.checker"]
    pipe = subprocess.PIPE
    checkers: list[subprocess.Popen[bytes]] = []
    try:
        checkers += (subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) for _ in shares)
        with ThreadPoolExecutor(size, thread_name_prefix="checking") as pool:
            asked = [
                pool.submit(_ask, checker, {"packs": packs, "jobs": share}) for checker, share in zip(checkers, shares, strict=True)
            ]
            while wait(asked, _POLL_SECONDS).not_done:
                if stop.is_set():
                    _end(checkers)
                    raise Stopped
        bad = [number for answer in asked for number in answer.result()]
    finally:
        _end(checkers)
    return [chunks[number] for number in sorted({*range(len(chunks))} - {*mine} | {*bad})]


def _ask(checker: "subprocess.Popen[bytes]", order: dict[str, list[str] | list[list[int | str]]]) -> list[int]:
    """What a checker does not find right: all of its share, if it died."""
    answer, _ = checker.communicate(json.dumps(order).encode())
    try:
        found: list[int] = json.loads(answer)
    except ValueError:
        return [int(job[0]) for job in order["jobs"]]
    return found


def _end(checkers: Sequence["subprocess.Popen[bytes]"]) -> None:
    for checker in checkers:
        checker.kill()
        checker.wait()
        for stream in (checker.stdin, checker.stdout):
            if stream is not None:
                stream.close()
