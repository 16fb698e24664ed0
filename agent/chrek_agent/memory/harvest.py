"""From a frozen tree, or from a plain dump of it, to chunks in the store and images without bulk.

After a dump that has left the memory where it is the frozen processes are read by many threads; after a plain one its pages images
are. What comes out is the same.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from chrek_agent.container import processes
from chrek_agent.criu.mappings import advise_huge, read_mappings
from chrek_agent.criu.pagemap import Pagemap, read_pagemap, write_pagemap
from chrek_agent.criu.shared import shared_places
from chrek_agent.criu.wire import ImageError
from chrek_agent.errors import CaptureError
from chrek_agent.memory.access import ProcessMemory, open_memory
from chrek_agent.memory.pool import default_threads, work_off
from chrek_agent.memory.split import Split, Stretch, rest_entries, split, split_shared
from chrek_agent.store.chunking import CHUNK

PRIVATE: Final = "private"
"""Kind of a run of private anonymous memory: its owner is a PID inside the container, its start an address there."""
SHARED: Final = "shared"
"""Kind of a run of shared anonymous memory: its owner is CRIU's number of the object, its start an offset in it."""

Progress = Callable[[int], None]
"""Called with the bytes done so far, from any thread."""


class RunSink(Protocol):
    """Takes one run, in pieces of 2 MiB; see chrek_agent.store.writer.RunWriter."""

    def write(self, data: memoryview, offset: int | None = None) -> None:
        """Takes a piece, from any thread."""

    def close(self) -> None:
        """All pieces are there."""


class Sink(Protocol):
    """Takes runs; see chrek_agent.store.writer.ArtifactWriter."""

    def add_run(self, kind: str, owner: int, start: int) -> RunSink:
        """Begins a run."""


@dataclass(frozen=True, slots=True)
class Harvested:
    """What was taken out of the images, in bytes, and what was left in them."""

    bulk: int
    rest: int
    runs: int


@dataclass(frozen=True, slots=True)
class _Space:
    """One process's private memory, or one shared object: where its pages are now, and where they go."""

    kind: str
    path: Path
    owner: int
    pagemap: Pagemap
    parts: Split
    pages: int
    """The pages image, open."""
    memory: ProcessMemory | None

    def read(self, stretch: Stretch, offset: int, into: memoryview) -> None:
        if stretch.at is not None:
            if os.preadv(self.pages, [into], stretch.at + offset) != len(into):
                raise CaptureError(f"pages-{self.pagemap.pages}.img is shorter than its pagemap says")
        elif self.memory is not None:
            try:
                self.memory.read(stretch.start + offset, into)
            except OSError as error:
                raise CaptureError(f"memory of process {self.owner} cannot be read: {error.strerror}") from error
        else:
            raise CaptureError(f"{self.path.name} says that shared memory is still in place")


def harvest(
    images: Path,
    sink: Sink,
    members: Sequence[processes.Process],
    *,
    progress: Progress = lambda _: None,
    threads: int = 0,
    stop: threading.Event | None = None,
) -> Harvested:
    """Moves the bulk of all processes in `images` into `sink` and completes the images for a restore without it; blocks.

    Args:
        images: A finished dump.
        sink: Takes the runs.
        members: The frozen processes; those whose pages are all in the images need not be there.
        progress: See Progress.
        threads: 0: as many as suit the machine.
        stop: Ends it from outside.

    Raises:
        CaptureError: An image is malformed, or a page cannot be read.
        OSError: The store or the node refused.
        Stopped: `stop` was set.
    """
    count = threads or default_threads()
    stop = stop or threading.Event()
    done = _Counter(progress)
    with ExitStack() as stack:
        spaces = _spaces(stack, images, members)
        runs = [
            (space, stretch, sink.add_run(space.kind, space.owner, stretch.start))
            for space in spaces
            for stretch in space.parts.bulk
        ]

        def move(job: tuple[_Space, Stretch, RunSink, int], buffer: memoryview) -> None:
            space, stretch, run, offset = job
            view = buffer[: min(CHUNK, stretch.length - offset)]
            space.read(stretch, offset, view)
            run.write(view, offset)
            done.add(len(view))

        work_off(_pieces(runs), move, threads=count, stop=stop)
        for _, _, run in runs:
            run.close()
        work_off(spaces, _complete, threads=count, stop=stop)
    bulk = sum(stretch.length for _, stretch, _ in runs)
    return Harvested(bulk, sum(stretch.length for space in spaces for stretch in space.parts.rest), len(runs))


def _spaces(stack: ExitStack, images: Path, members: Sequence[processes.Process]) -> list[_Space]:
    try:
        mappings = {number_of(path): read_mappings(path) for path in images.glob("mm-*.img")}
        within_reach = shared_places(images, mappings)
        spaces = []
        for path in sorted(images.glob("pagemap-[0-9]*.img")):
            pagemap = read_pagemap(path)
            spaces.append(_open(stack, PRIVATE, path, pagemap, split(pagemap, mappings[number_of(path)]), members))
        for path in sorted(images.glob("pagemap-shmem-*.img")):
            pagemap = read_pagemap(path)
            parts = split_shared(pagemap, within_reach=number_of(path) in within_reach)
            spaces.append(_open(stack, SHARED, path, pagemap, parts, ()))
    except (ImageError, LookupError, ValueError) as error:
        raise CaptureError(f"CRIU's images are not as expected: {error}") from error
    except ProcessLookupError as error:
        raise CaptureError(f"memory cannot be read: {error.strerror}") from error
    return spaces


def number_of(image: Path) -> int:
    """The number that the name of an image ends with: a PID inside, or a shared object's."""
    return int(image.stem.rpartition("-")[2])


def _open(stack: ExitStack, kind: str, path: Path, pagemap: Pagemap, parts: Split, members: Sequence[processes.Process]) -> _Space:
    owner = number_of(path)
    pages = os.open(path.with_name(f"pages-{pagemap.pages}.img"), os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, pages)
    in_place = any(stretch.at is None for stretch in (*parts.bulk, *parts.rest))
    memory = stack.enter_context(open_memory(members, owner)) if in_place and kind == PRIVATE else None
    return _Space(kind, path, owner, pagemap, parts, pages, memory)


def _pieces(runs: Sequence[tuple[_Space, Stretch, RunSink]]) -> Iterator[tuple[_Space, Stretch, RunSink, int]]:
    for space, stretch, run in runs:
        for offset in range(0, stretch.length, CHUNK):
            yield space, stretch, run, offset


def _complete(space: _Space, buffer: memoryview) -> None:
    """Writes a space's images anew, with the rest alone."""
    pages = space.path.with_name(f"pages-{space.pagemap.pages}.img")
    fresh = pages.with_suffix(".new")
    with fresh.open("wb", buffering=0) as file:
        for stretch in space.parts.rest:
            for offset in range(0, stretch.length, len(buffer)):
                view = buffer[: min(len(buffer), stretch.length - offset)]
                space.read(stretch, offset, view)
                written = 0
                while written < len(view):
                    written += file.write(view[written:])
    fresh.replace(pages)
    write_pagemap(space.path, Pagemap(space.pagemap.pages, rest_entries(space.parts)))
    if space.kind == PRIVATE:
        advise_huge(space.path.with_name(f"mm-{space.owner}.img"), space.parts.huge)


class _Counter:
    """Adds up what threads have done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._total = 0

    def add(self, count: int) -> None:
        with self._lock:
            self._total += count
            self._progress(self._total)
