"""Processes that fill memory beside the agent: one interpreter's lock holds up more than a few threads.

They are started and told what there is to do while CRIU restores the skeleton, so that only the work itself is left for later.
"""

import json
import logging
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Final, Self

from chrek_agent.container import processes
from chrek_agent.memory.harvest import PRIVATE
from chrek_agent.memory.late import Stretch, is_late
from chrek_agent.memory.packs import RAW
from chrek_agent.memory.pool import Stopped
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.codec import NAMES
from chrek_agent.store.model import Run
from chrek_agent.store.reading import Chunk

LOG: Final = logging.getLogger(__name__)
FILLER = "chrek_agent.memory.filler"
"""The program."""
THREADS: Final = 2
"""Of one filler."""
LATE: Final = 8
"""Threads, each of another filler, while the driver is at work: it needs a core and some of memory's speed itself."""
_MOST: Final = 16
"""Threads of all fillers; beyond that memory itself is the limit."""
LEAST: Final = 1 << 30
"""Bytes of memory for which it is worth while to start them."""

Job = tuple[Run, Chunk]


@dataclass(frozen=True, slots=True)
class Result:
    """What they did: bytes written, bytes that needed force, and the jobs that are left."""

    written: int
    forced: int
    left: list[Job]


class Crew:
    """Some fillers. Closing it, which takes some time, ends those that still run."""

    def __init__(self, artifact: Artifact, size: int, late: Sequence[Stretch] = (), *, processors: Collection[int] = ()) -> None:
        """Starts them, on these processors if any are named, and deals out the work; blocks. What is late they do last, in order.

        Raises OSError.
        """
        self.jobs: list[Job] = []
        """What they do, or leave."""
        self.late: list[Job] = []
        """Likewise, behind it."""
        self.rest: list[Job] = []
        """What is not for them."""
        self.stretches: Sequence[Stretch] = late
        """What comes late."""
        command = [sys.executable, "-P", "-m", FILLER]
        pipe = subprocess.PIPE
        self.fillers: list[subprocess.Popen[bytes]] = []
        """Those that run."""
        try:
            for _ in range(size):
                filler = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
                self.fillers.append(filler)
                if processors:
                    os.sched_setaffinity(filler.pid, processors)
            self._deal(artifact)
            self._heard = [b""] * size
        except BaseException:
            self.close()
            raise

    def _deal(self, artifact: Artifact) -> None:
        for run in artifact.memory:
            for chunk in artifact.chunks(run):
                if not _suits(run, chunk):
                    self.rest.append((run, chunk))
                elif is_late(self.stretches, run.owner, run.start):
                    self.late.append((run, chunk))
                else:
                    self.jobs.append((run, chunk))
        if any(is_late(self.stretches, run.owner, run.start) for run, _ in self.rest):
            # What others have to do cannot be late.
            self.stretches = ()
            self.jobs, self.late = [*self.jobs, *self.late], []
        ours = [*self.jobs, *self.late]
        self._owners = sorted({run.owner for run, _ in ours})
        packs = sorted({str(chunk.place.path) for _, chunk in ours})
        numbers = {path: number for number, path in enumerate(packs)}
        owners = {owner: number for number, owner in enumerate(self._owners)}

        def described(jobs: Sequence[Job]) -> list[list[Any]]:
            return [
                [*_describe(number, owners[run.owner], numbers[str(chunk.place.path)], run, chunk), _seal(artifact, chunk)]
                for number, (run, chunk) in enumerate(jobs)
            ]

        jobs, late, behind = described(self.jobs), described(self.late), self._behind
        for index, filler in enumerate(self.fillers):
            # Neighbours go to different fillers, so that all have the same mix of what is easy and what is not.
            shares = [[jobs[index :: len(self.fillers)], THREADS], [late[index::behind] if index < behind else [], 1]]
            _tell(filler, {"packs": packs, "shares": shares})

    def begin(self, members: Sequence[processes.Process], descriptors: Mapping[int, int] | None = None) -> None:
        """Lets them go; `descriptors`: the userfaultfds for what is late. Raises ProcessLookupError when a process is not there."""
        by_inner = {member.inner: member for member in members}
        missing = [owner for owner in self._owners if owner not in by_inner]
        if missing:
            raise ProcessLookupError(f"process {missing[0]} of the worker is not there")
        held = descriptors or {}
        for filler in self.fillers:
            _tell(filler, [[asdict(by_inner[owner]), held.get(owner, -1)] for owner in self._owners])
            _end_input(filler)

    def end(self, stop: threading.Event) -> Result:
        """Waits for all that is not late. One that died has left all of its share. Raises Stopped."""
        return self._result(self.jobs, len(self.fillers), stop)

    def end_late(self, stop: threading.Event) -> Result:
        """Waits for what is late, after `end`; likewise."""
        return self._result(self.late, self._behind, stop)

    @property
    def _behind(self) -> int:
        return min(LATE, len(self.fillers))

    def _result(self, jobs: Sequence[Job], shares: int, stop: threading.Event) -> Result:
        written = forced = 0
        left: list[int] = []
        for index, answer in enumerate(self._answers(stop)):
            try:
                found = json.loads(answer)
                written, forced, left = written + found["written"], forced + found["forced"], left + found["left"]
            except ValueError:
                left += range(index, len(jobs), shares) if index < shares else []
        return Result(written, forced, [jobs[number] for number in left])

    def _answers(self, stop: threading.Event) -> list[bytes]:
        """The next line of each; empty of those that have ended."""
        answers = [b""] * len(self.fillers)
        with selectors.DefaultSelector() as waiting:
            for index, filler in enumerate(self.fillers):
                if filler.stdout is not None and b"\n" not in self._heard[index]:
                    waiting.register(filler.stdout, selectors.EVENT_READ, index)
            while waiting.get_map():
                if stop.is_set():
                    raise Stopped
                for key, _ in waiting.select(0.1):
                    piece = os.read(key.fd, 1 << 16)
                    self._heard[key.data] += piece
                    # Its end, when all that it has mapped is let go, is not waited for.
                    if not piece or b"\n" in piece:
                        waiting.unregister(key.fileobj)
        for index, heard in enumerate(self._heard):
            answers[index], _, self._heard[index] = heard.partition(b"\n")
        return answers

    def close(self) -> None:
        """Ends them."""
        for filler in self.fillers:
            filler.kill()
        for filler in self.fillers:
            _end_input(filler)
            filler.wait()
            if filler.stdout is not None:
                filler.stdout.close()
        self.fillers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def crew_size(artifact: Artifact, processors: Collection[int] = ()) -> int:
    """How many fillers suit these processors (all, if none are named) and this artifact.

    None where the agent's own threads do as well.
    """
    size = min(_MOST, len(processors or os.sched_getaffinity(0))) // THREADS
    return size if size >= 2 and sum(run.length for run in artifact.memory) >= LEAST else 0


def _suits(run: Run, chunk: Chunk) -> bool:
    """A filler can do it."""
    return run.kind == PRIVATE and NAMES[chunk.record.codec] == RAW and chunk.place.path is not None


def start_crew(artifact: Artifact, late: Sequence[Stretch] = (), *, processors: Collection[int] = ()) -> Crew | None:
    """A crew that suits these processors and this artifact; None where the agent's own threads do as well. Blocks."""
    size = crew_size(artifact, processors)
    if not size:
        return None
    try:
        return Crew(artifact, size, late, processors=processors)
    except OSError as error:
        LOG.warning("memory is filled by the agent alone, which takes longer: %s", error)
        return None


def _describe(number: int, owner: int, pack: int, run: Run, chunk: Chunk) -> list[Any]:
    place = chunk.place
    name, bitmap = chunk.digest.hex(), chunk.record.bitmap.hex()
    return [number, owner, pack, place.offset, place.stored, chunk.length, name, bitmap, run.start + chunk.offset]


def _seal(artifact: Artifact, chunk: Chunk) -> list[str]:
    """What opens a sealed chunk; the store's own key stays here."""
    return [part.hex() for part in artifact.seal(chunk) or ()]


def _tell(filler: "subprocess.Popen[bytes]", message: object) -> None:
    """One line to a filler; one that died is found out at the end."""
    with suppress(BrokenPipeError):
        if filler.stdin is not None:
            filler.stdin.write(json.dumps(message).encode() + b"\n")
            filler.stdin.flush()


def _end_input(filler: "subprocess.Popen[bytes]") -> None:
    with suppress(BrokenPipeError):
        if filler.stdin is not None:
            filler.stdin.close()
