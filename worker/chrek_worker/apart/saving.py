"""Before a capture: content goes to the agent, piece by piece, by several threads at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from chrek_worker.apart.channel import Channel
from chrek_worker.apart.crew import Take, work_off
from chrek_worker.apart.memory import Memory
from chrek_worker.apart.region import Region, pieces

THREADS = 8
PIECE = 16 << 20
"""Bytes that travel at once: an answer of the agent's for each."""


def save(path: str, memories: Sequence[Memory]) -> dict[Memory, list[Region]]:
    """Has the agent at this socket keep what the memories hold; returns what that was. Raises ApartError and OSError."""
    for memory in memories:
        memory.settle()
    kept = {memory: memory.stretches() for memory in memories}
    with Channel(path) as channel:
        regions = [[one.address, one.length] for found in kept.values() for one in found]
        channel.ask({"do": "keep", "regions": regions, "allocations": _allocations(memories)})
        for memory, stretches in kept.items():
            _save(path, memory, stretches)
        channel.ask({"do": "kept"})
    return kept


def _allocations(memories: Sequence[Memory]) -> dict[str, list[list[int]]]:
    """What of GPUs' memory there is, by their UUIDs: the agent can make it before this process is back."""
    found: dict[str, list[list[int]]] = {}
    for memory in memories:
        if memory.gpu:
            found.setdefault(memory.gpu, []).extend([one.address, one.length] for one in memory.regions())
    return found


def _save(path: str, memory: Memory, stretches: Sequence[Region]) -> None:
    def work(take: Take) -> None:
        with closing(memory.lane(PIECE)) as lane, Channel(path) as channel:
            channel.share(lane.slot)
            while (piece := take()) is not None:
                lane.save(piece.address, piece.length)
                channel.ask({"do": "save", "start": piece.start, "offset": piece.offset, "length": piece.length})

    count = sum(-(-stretch.length // PIECE) for stretch in stretches)
    work_off(pieces(stretches, PIECE), work, min(THREADS, count))
