"""Which files a restored worker is given, and what of its memory lies where in them."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chrek_agent.apart.readonly import ReadOnly
from chrek_agent.store.artifact import Artifact
from chrek_agent.store.codec import NAMES, RAW
from chrek_agent.store.model import Run
from chrek_agent.store.reading import Chunk

_SCATTERED: Final = 16
"""A chunk in more stretches than these is not worth reading by them."""

Chunked = Sequence[tuple[Run, Sequence[Chunk]]]
"""Runs in the order of their addresses, with the chunks of each that are not all zeros."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the content of some runs is.

    `extents` are addresses, lengths, numbers of files and offsets in them; `fetched` are addresses and lengths of what has to be
    asked for; all else is zeros.
    """

    extents: list[list[int]] = field(default_factory=list)
    fetched: list[list[int]] = field(default_factory=list)

    def add(self, address: int, chunk: Chunk, file: int | None) -> None:
        """A chunk at its address, in a file or not."""
        if file is None:
            _extend(self.fetched, [address, chunk.length])
            return
        position = chunk.place.offset
        for offset, length in chunk.extents:
            _extend(self.extents, [address + offset, length, file, position])
            position += length


class Files:
    """The packs of an artifact that may be handed over as they are, open: files here, with nothing in them that is another's."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._numbers: dict[str, int | None] = {}
        self._directories: dict[Path, ReadOnly] = {}
        self.descriptors: list[int] = []

    def number(self, chunk: Chunk) -> int | None:
        """The number of the file that has the chunk as it is; None where there is none."""
        place = chunk.place
        if not is_plain(chunk):
            return None
        if place.pack not in self._numbers:
            self._numbers[place.pack] = self._open(chunk) if self._artifact.owns(place.pack) else None
        return self._numbers[place.pack]

    def has(self, chunk: Chunk) -> bool:
        """It is in a file that is handed over, and so nobody verifies it when it is asked for."""
        return self.number(chunk) is not None

    def _open(self, chunk: Chunk) -> int | None:
        path = chunk.place.path
        with suppress(OSError):  # Such as a kernel without such mounts.
            if path is not None:
                # One for all packs: the end of each takes milliseconds.
                if path.parent not in self._directories:
                    self._directories[path.parent] = ReadOnly(path.parent)
                self.descriptors.append(self._directories[path.parent].open(path.name))
                return len(self.descriptors) - 1
        return None

    def close(self) -> None:
        """Closes them."""
        while self.descriptors:
            os.close(self.descriptors.pop())
        while self._directories:
            self._directories.popitem()[1].close()


def is_plain(chunk: Chunk) -> bool:
    """Its pages lie in a file here as they are, and not in too many pieces."""
    return chunk.place.codec == NAMES[RAW] and chunk.place.path is not None and len(chunk.extents) <= _SCATTERED


def chunked(artifact: Artifact, runs: Iterable[Run]) -> Chunked:
    """All chunks of some runs. Raises ArtifactError."""
    return [(run, list(artifact.chunks(run))) for run in sorted(runs, key=lambda run: run.start)]


def lay_out(found: Chunked, files: Files) -> Layout:
    """Where all of these runs are."""
    layout = Layout()
    for run, chunks in found:
        for chunk in chunks:
            layout.add(run.start + chunk.offset, chunk, files.number(chunk))
    return layout


def _extend(ranges: list[list[int]], new: list[int]) -> None:
    """Adds a range, to the last one where it goes on there in every respect."""
    if ranges:
        last = ranges[-1]
        follows = last[0] + last[1] == new[0]
        if follows and last[2:3] == new[2:3] and (len(new) == 2 or last[3] + last[1] == new[3]):
            last[1] += new[1]
            return
    ranges.append(new)
