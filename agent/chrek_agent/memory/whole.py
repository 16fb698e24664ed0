"""Puts the bulk back into CRIU's images, for a restore by CRIU alone where the fast way met something unexpected."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from chrek_agent.criu.pagemap import PRESENT, Entry, Pagemap, read_pagemap, write_pagemap
from chrek_agent.criu.wire import ImageError
from chrek_agent.errors import ArtifactError
from chrek_agent.memory.harvest import PRIVATE
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.model import Run


@dataclass(frozen=True, slots=True)
class _Piece:
    """Pages of the whole: from the images at hand (`at` in their pages image), or a run."""

    start: int
    length: int
    at: int
    run: Run | None


def complete_images(artifact: Artifact, images: Path) -> None:
    """Makes the materialised `images` whole, every chunk checked; blocks.

    Raises:
        ArtifactError: What is stored is not what was captured.
        OSError: It cannot be written.
    """
    by_owner = sorted(artifact.memory, key=attrgetter("kind", "owner", "start"))
    for (kind, owner), runs in groupby(by_owner, key=attrgetter("kind", "owner")):
        path = images / (f"pagemap-{owner}.img" if kind == PRIVATE else f"pagemap-shmem-{owner}.img")
        try:
            _complete(artifact, path, list(runs))
        except ImageError as error:
            raise ArtifactError(f"artifact {artifact.manifest.generation} is corrupt: {error}") from error


def _complete(artifact: Artifact, path: Path, runs: Sequence[Run]) -> None:
    pagemap = read_pagemap(path)
    pieces = sorted([*_rest(pagemap), *(_Piece(run.start, run.length, 0, run) for run in runs)], key=attrgetter("start"))
    pages = path.with_name(f"pages-{pagemap.pages}.img")
    fresh = pages.with_suffix(".new")
    with pages.open("rb") as source, fresh.open("wb") as target:
        position = 0
        for piece in pieces:
            if piece.run is None:
                _copy(source.fileno(), piece.at, target.fileno(), position, piece.length)
            else:
                _put(artifact, piece.run, target.fileno(), position)
            position += piece.length
        # Pages of zeros at the end have not been written.
        target.truncate(position)
    fresh.replace(pages)
    write_pagemap(path, Pagemap(pagemap.pages, tuple(Entry(piece.start, piece.length, PRESENT) for piece in pieces)))


def _rest(pagemap: Pagemap) -> Iterator[_Piece]:
    at = 0
    for entry in pagemap.entries:
        yield _Piece(entry.start, entry.length, at, None)
        at += entry.length


def _put(artifact: Artifact, run: Run, target: int, position: int) -> None:
    artifact.expect(artifact.chunks(run))
    for chunk in artifact.chunks(run):
        dense = artifact.fetch(chunk)
        artifact.check(chunk, dense)
        for offset, content in artifact.pieces(chunk, dense):
            _write(target, content, position + chunk.offset + offset)


def _copy(source: int, at: int, target: int, position: int, length: int) -> None:
    buffer = memoryview(bytearray(min(length, 1 << 20)))
    while length:
        count = os.preadv(source, [buffer[:length]], at)
        if not count:
            raise ImageError("a pages image is shorter than its pagemap says")
        _write(target, buffer[:count], position)
        at, position, length = at + count, position + count, length - count


def _write(target: int, content: memoryview, position: int) -> None:
    while content:
        count = os.pwrite(target, content, position)
        content, position = content[count:], position + count
