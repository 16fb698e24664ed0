"""From chunks in the store into the stopped processes of a restored tree: read, checked and written by many threads at once."""

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chrek_agent.container import processes
from chrek_agent.criu.wire import ImageError
from chrek_agent.errors import AgentError
from chrek_agent.memory.crew import Crew, Job
from chrek_agent.memory.late import Late
from chrek_agent.memory.packs import PackReader
from chrek_agent.memory.pool import REMOTE_THREADS, default_threads, work_off
from chrek_agent.memory.targets import find_targets
from chrek_agent.memory.userfault import Userfault
from chrek_agent.store.artifact import Artifact


class FillError(AgentError):
    """The kernel refused; the same memory may still be restored by CRIU itself."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a fill did: bytes of memory that it answers for, bytes written (the others are zero), and bytes that needed force."""

    length: int
    written: int
    forced: int
    seconds: float


def fill(
    artifact: Artifact,
    images: Path,
    members: Sequence[processes.Process],
    *,
    threads: int = 0,
    crew: Crew | None = None,
    late: Late | None = None,
    stop: threading.Event | None = None,
) -> Filled:
    """Writes all runs of the artifact into the processes, but for what `fill_late` waits for; blocks.

    Each chunk's digest is checked before any of it is written. Pages of zeros are not written: fresh memory is zero.

    Args:
        artifact: Open; its manifest names the runs.
        images: The images that the tree was restored from.
        members: The restored processes, stopped.
        threads: Our own; 0: as many as suit the machine.
        crew: Fillers that this artifact was dealt out to; they do most of it.
        late: What the crew may go on with afterwards.
        stop: Ends it from outside.

    Raises:
        ArtifactError: What is stored is not what was captured. The tree is half filled and must be ended, as after any other error.
        FillError: The kernel refused a write, or a process is gone.
        Stopped: `stop` was set.
    """
    begin = time.monotonic()
    written = forced = 0
    lock = threading.Lock()
    stop = stop or threading.Event()
    threads = threads or (REMOTE_THREADS if artifact.is_remote else default_threads())
    try:
        with ExitStack() as stack:
            packs = stack.enter_context(PackReader(artifact))
            targets = find_targets(stack, artifact.memory, images, members)

            def put(job: Job, buffer: memoryview) -> None:
                nonlocal written
                run, chunk = job
                dense = packs.read(chunk, buffer)
                artifact.check(chunk, dense)
                base = run.start + chunk.offset
                targets[run.kind, run.owner].write([(base + offset, length) for offset, length in chunk.extents], dense)
                with lock:
                    written += len(dense)

            artifact.expect(chunk for run in artifact.memory for chunk in artifact.chunks(run))
            if crew is None:
                jobs: Iterable[Job] = ((run, chunk) for run in artifact.memory for chunk in artifact.chunks(run))
            else:
                crew.begin(members, late.descriptors if late else None)
                work_off(crew.rest, put, threads=threads, stop=stop)
                done = crew.end(stop)
                written, forced, jobs = written + done.written, done.forced, done.left
            work_off(jobs, put, threads=threads, stop=stop)
            forced += sum(target.forced for target in targets.values())
    except (OSError, ImageError) as error:
        raise FillError(f"memory could not be filled: {getattr(error, 'strerror', None) or error}") from error
    length = sum(run.length for run in artifact.memory) - _length(crew.late if crew else [])
    return Filled(length, written, forced, time.monotonic() - begin)


def fill_late(artifact: Artifact, crew: Crew, late: Late, *, stop: threading.Event) -> int:
    """Waits until all that is late has come, and lets its processes go; blocks. Returns the bytes of memory it answers for.

    Raises:
        ArtifactError, FillError, Stopped: As `fill`. Its processes may still be held up: they must be ended.
    """
    try:
        left = crew.end_late(stop).left
        with PackReader(artifact) as packs:

            def put(job: Job, buffer: memoryview) -> None:
                run, chunk = job
                dense = packs.read(chunk, buffer)
                artifact.check(chunk, dense)
                userfault = Userfault(late.descriptors[run.owner])
                userfault.put(run.start + chunk.offset, chunk.length, chunk.extents, dense)

            work_off(left, put, threads=default_threads(), stop=stop)
        if late.harm:
            raise FillError(f"the worker {late.harm} before all of its memory was there")
        late.close()
    except OSError as error:
        raise FillError(f"memory could not be filled late: {error.strerror or error}") from error
    return _length(crew.late)


def _length(jobs: Sequence[Job]) -> int:
    return sum(chunk.length for _, chunk in jobs)
