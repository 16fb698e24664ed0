"""What each loader is to make and to load. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chrek_agent.apart.allocations import Allocation, Allocations, holder
from chrek_agent.apart.layout import Chunked, is_plain
from chrek_agent.memory.harvest import PRIVATE
from chrek_agent.store.model import Run

_CONTEXT: Final = 1 << 30
"""Bytes that the driver itself takes of a GPU for one process, and some to spare."""

Key = tuple[int, int]
"""A run: the process that it is of, its PID inside, and where it starts."""


@dataclass(frozen=True, slots=True)
class Share:
    """Of one GPU: its UUID at the capture, and the allocations on it with the processes that they are of."""

    gpu: str
    allocations: Sequence[tuple[int, Allocation]]

    def content(self, chunked: Mapping[int, Chunked]) -> tuple[dict[str, Any], set[Key]] | None:
        """What a loader's second line says, and the runs that are in it; None where some of it is in no plain file here.

        Args:
            chunked: All that is apart, by process.
        """
        keys: set[Key] = set()
        numbers = {key: number for number, key in enumerate(self.allocations)}
        owned = {owner: [one for other, one in self.allocations if other == owner] for owner, _ in self.allocations}
        packs: dict[str, int] = {}
        stretches: list[list[list[int]]] = [[] for _ in numbers]
        extents: list[list[list[int]]] = [[] for _ in numbers]
        digests: list[list[tuple[int, int, str]]] = [[] for _ in numbers]
        for owner, found in owned.items():
            for run, chunks in chunked.get(owner, ()):
                allocation = holder(found, run.start)
                if allocation is None:
                    continue
                number, start = numbers[owner, allocation], run.start - allocation.address
                stretches[number].append([start, min(run.length, allocation.length - start)])
                keys.add((owner, run.start))
                for chunk in chunks:
                    if not is_plain(chunk):
                        return None
                    pack, position = packs.setdefault(str(chunk.place.path), len(packs)), chunk.place.offset
                    digests[number].append((start + chunk.offset, chunk.length, chunk.digest.hex()))
                    for offset, length in chunk.extents:
                        _extend(extents[number], [start + chunk.offset + offset, length, pack, position])
                        position += length
        return {"packs": list(packs), "stretches": stretches, "extents": extents, "digests": digests}, keys


def shares(allocations: Allocations, most: int) -> list[Share]:
    """All, by GPU; of more than so many allocations the largest: what is left the workers load by themselves."""
    every = sorted(((owner, one) for owner, found in allocations.items() for one in found), key=lambda pair: -pair[1].length)
    taken = sorted(every[:most], key=lambda pair: (pair[0], pair[1].address))
    gpus = dict.fromkeys(one.gpu for _, one in taken)
    return [Share(gpu, [(owner, one) for owner, one in taken if one.gpu == gpu]) for gpu in gpus]


def spare(share: Share, allocations: Allocations, pids: Sequence[int], memory: Sequence[Run]) -> int:
    """Bytes of a GPU's memory that the driver may need beside the share, to give the worker back what else it had there.

    At most all that is in the dump of the processes that have used it: the driver had moved it to their host memory.

    Args:
        share: Of the GPU.
        allocations: Of all GPUs.
        pids: The processes that use GPUs, their PIDs inside; of those without any allocation nobody knows which.
        memory: What is in the dump.
    """
    users = {owner for owner, _ in share.allocations} | {pid for pid in pids if not allocations.get(pid)}
    return len(users) * _CONTEXT + sum(run.length for run in memory if run.kind == PRIVATE and run.owner in users)


def _extend(extents: list[list[int]], new: list[int]) -> None:
    """Adds an extent, to the last one where it goes on there in its file too."""
    if extents:
        last = extents[-1]
        if last[0] + last[1] == new[0] and last[2] == new[2] and last[3] + last[1] == new[3]:
            last[1] += new[1]
            return
    extents.append(new)
