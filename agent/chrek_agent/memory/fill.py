"""From chunks in the store into the stopped processes of a restored tree: read, checked and written by many threads at once."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chrek_agent import processes
from chrek_agent.criu.wire import ImageError
from chrek_agent.errors import AgentError
from chrek_agent.memory.packs import PackReader
from chrek_agent.memory.pool import REMOTE_THREADS, default_threads, work_off
from chrek_agent.memory.targets import Target, find_targets
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.model import Run
from chrek_agent.store.reading import Chunk


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
    stop: threading.Event | None = None,
) -> Filled:
    """Writes all runs of the artifact into the processes; blocks.

    Each chunk's digest is checked before any of it is written. Pages of zeros are not written: fresh memory is zero.

    Args:
        artifact: Open; its manifest names the runs.
        images: The images that the tree was restored from.
        members: The restored processes, stopped.
        threads: 0: as many as suit the machine.
        stop: Ends it from outside.

    Raises:
        ArtifactError: What is stored is not what was captured. The tree is half filled and must be ended, as after any other error.
        FillError: The kernel refused a write, or a process is gone.
        Stopped: `stop` was set.
    """
    begin = time.monotonic()
    written = 0
    lock = threading.Lock()
    try:
        with ExitStack() as stack:
            packs = stack.enter_context(PackReader(artifact))
            targets = find_targets(stack, artifact.manifest.memory, images, members)

            def put(job: tuple[Target, Run, Chunk], buffer: memoryview) -> None:
                nonlocal written
                target, run, chunk = job
                dense = packs.read(chunk, buffer)
                artifact.check(chunk, dense)
                base = run.start + chunk.offset
                target.write([(base + offset, length) for offset, length in chunk.extents], dense)
                with lock:
                    written += len(dense)

            work_off(
                _jobs(artifact, targets),
                put,
                threads=threads or (REMOTE_THREADS if artifact.is_remote else default_threads()),
                stop=stop or threading.Event(),
            )
            forced = sum(target.forced for target in targets.values())
    except (OSError, ImageError) as error:
        raise FillError(f"memory could not be filled: {getattr(error, 'strerror', None) or error}") from error
    return Filled(sum(run.length for run in artifact.manifest.memory), written, forced, time.monotonic() - begin)


def _jobs(artifact: Artifact, targets: Mapping[tuple[str, int], Target]) -> Iterator[tuple[Target, Run, Chunk]]:
    for run in artifact.manifest.memory:
        for chunk in artifact.chunks(run):
            yield targets[run.kind, run.owner], run, chunk
