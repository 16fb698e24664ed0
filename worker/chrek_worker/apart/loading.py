"""After a restore: content comes back through a ring of buffers, from files that the agent hands over where it can."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from chrek_worker.apart.channel import ApartError, Channel
from chrek_worker.apart.crew import Take, work_off
from chrek_worker.apart.memory import Lane, Memory
from chrek_worker.apart.region import Piece, Region, pieces

# 41 GiB/s on an H200, whose link allows 51; larger pieces, fewer of them or more threads were all slower.
THREADS = 16
PIECE = 4 << 20
DEPTH = 2
"""Buffers of each thread: one is filled while the other one is copied from."""

Extent = tuple[int, int, int, int]
"""Address, length, number of the file, offset in it."""
_ZERO = bytes(PIECE)


class Content:
    """Where the agent says that what is apart lies. To be closed."""

    def __init__(self, channel: Channel) -> None:
        answer = channel.ask({"do": "load", "handles": True})
        self.regions = [Region(int(address), int(length)) for address, length in answer["regions"]]
        self._extents: list[Extent] = sorted((int(a), int(n), int(f), int(o)) for a, n, f, o in answer["extents"])
        self._starts = [extent[0] for extent in self._extents]
        self._fetched = sorted((int(address), int(length)) for address, length in answer["fetched"])
        self.handles = [Region(int(address), int(length)) for address, length in answer.get("handles", [])]
        """Regions whose memory the agent has loaded: their descriptors come next."""
        self._files: list[int] = []
        while len(self._files) < answer["files"]:
            self._files += channel.hear()[1]

    @property
    def is_partly_fetched(self) -> bool:
        """Some of it is not in files."""
        return bool(self._fetched)

    def close(self) -> None:
        """Closes the files."""
        for descriptor in self._files:
            os.close(descriptor)

    def is_fetched(self, piece: Piece) -> bool:
        """It is not, or not only, in files: the agent is asked for it."""
        if not self._fetched:
            return False
        at = bisect_right(self._fetched, (piece.address, 1 << 63))
        near = self._fetched[max(0, at - 1) : at] + self._fetched[at : at + 1]
        return any(address < piece.address + piece.length and piece.address < address + length for address, length in near)

    def read(self, piece: Piece, into: memoryview) -> bool:
        """Reads a piece from the files; False, and nothing is done, when it is all zeros. Raises ApartError, OSError."""
        position, end = piece.address, piece.address + piece.length
        at = max(0, bisect_right(self._starts, position) - 1)
        for address, length, file, offset in self._between(at, end):
            begin, stop = max(address, piece.address), min(address + length, end)
            if begin >= stop:
                continue
            into[position - piece.address : begin - piece.address] = _ZERO[: begin - position]
            _read(self._files[file], into[begin - piece.address : stop - piece.address], offset + begin - address)
            position = stop
        if position > piece.address:
            into[position - piece.address : piece.length] = _ZERO[: end - position]
        return position > piece.address

    def _between(self, at: int, end: int) -> Iterator[Extent]:
        while at < len(self._extents) and self._extents[at][0] < end:
            yield self._extents[at]
            at += 1


def load(path: str, kept: Mapping[Memory, Sequence[Region]]) -> int:
    """Takes the memories' regions again and fills them; returns the bytes. Raises ApartError and OSError."""
    with Channel(path) as channel, ExitStack() as stack:
        content = Content(channel)
        stack.callback(content.close)
        wanted = sorted(one for found in kept.values() for one in found)
        if sorted(content.regions) != wanted:
            raise ApartError("the agent has other regions than were saved")
        adopted = _adopt(channel, content.handles, kept)
        spent: list[Lane] = []
        try:
            for memory, stretches in kept.items():
                regions = [region for region in memory.regions() if region not in adopted]
                if regions:
                    _load(path, memory, regions, stretches, content, spent)
            channel.ask({"do": "loaded"})
        finally:
            # Unpinning buffers takes as long as loading a gigabyte, and nobody needs to wait for it.
            threading.Thread(target=_close, args=(spent,), name="chrek-apart", daemon=True).start()
    return sum(region.length for region in wanted)


def _adopt(channel: Channel, handles: Sequence[Region], memories: Iterable[Memory]) -> set[Region]:
    """Takes over what the agent has loaded, where it is just what we have; returns that. All else is loaded anew."""
    owners = {region: memory for memory in memories for region in memory.regions()}
    adopted: set[Region] = set()
    waiting = iter(handles)
    count = 0
    while count < len(handles):
        _, descriptors = channel.hear()
        for descriptor in descriptors:
            region = next(waiting, None)
            try:
                if region in owners and owners[region].adopt(region, descriptor):
                    adopted.add(region)
            finally:
                os.close(descriptor)
        count += len(descriptors)
    return adopted


def _load(
    path: str, memory: Memory, regions: Sequence[Region], stretches: Sequence[Region], content: Content, spent: list[Lane]
) -> None:
    def work(take: Take) -> None:
        with ExitStack() as stack:
            lanes: list[Lane] = []
            for _ in range(DEPTH):
                lanes.append(memory.lane(PIECE, shared=content.is_partly_fetched))
                spent.append(lanes[-1])
            asked = _Asked(path, stack)
            number = 0
            while (piece := take()) is not None:
                lane = lanes[number % DEPTH]
                number += 1
                lane.wait()
                if content.is_fetched(piece):
                    asked.fetch(piece, lane)
                elif not content.read(piece, lane.slot.view):
                    lane.clear(piece.address, piece.length)
                    continue
                lane.load(piece.address, piece.length)
            for lane in lanes:
                lane.wait()

    count = sum(-(-stretch.length // PIECE) for stretch in stretches)
    threads = min(THREADS, len(os.sched_getaffinity(0)), max(1, count))
    work_off(_occupied(memory, regions, stretches), work, threads)


def _close(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.close()


class _Asked:
    """One thread's own connection, for pieces that are not in files."""

    def __init__(self, path: str, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack
        self._channels: dict[int, Channel] = {}

    def fetch(self, piece: Piece, lane: Lane) -> None:
        """Has the agent write a piece into the lane's slot."""
        channel = self._channels.get(id(lane))
        if channel is None:
            channel = self._channels[id(lane)] = self._stack.enter_context(Channel(self._path))
            channel.share(lane.slot)
        channel.ask({"do": "fetch", "start": piece.start, "offset": piece.offset, "length": piece.length})


def _occupied(memory: Memory, regions: Sequence[Region], stretches: Sequence[Region]) -> Iterator[Piece]:
    """The pieces, each once its region has its memory again: the next region is taken while others are filled."""
    waiting = iter(stretches)
    stretch = next(waiting, None)
    for region in regions:
        memory.occupy(region)
        while stretch is not None and stretch.address < region.end:
            # One whose region is there already, or has been freed meanwhile, is passed over.
            yield from pieces([stretch] if stretch.address >= region.address else [], PIECE)
            stretch = next(waiting, None)


def _read(descriptor: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(descriptor, [into], offset)
        if not count:
            raise ApartError("a file of the agent's is shorter than it says")
        into, offset = into[count:], offset + count
