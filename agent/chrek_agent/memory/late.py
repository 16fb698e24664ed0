"""Which memory may come when its process runs already, and what holds that process up meanwhile.

The driver takes GPU memory back from the host at its own pace, in the order of addresses; so its processes' large mappings are
filled while it is at it. All else must be there before a process goes on.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chrek_agent.criu.mappings import Mapping as Area
from chrek_agent.criu.mappings import read_mappings
from chrek_agent.memory.harvest import PRIVATE
from chrek_agent.memory.userfault import Events, Userfault
from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import Run

LEAST: Final = 256 << 20
"""Smallest mapping that is worth it."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of the memory of process `owner` (its PID inside), from `start` to before `end`."""

    owner: int
    start: int
    end: int


def late_stretches(runs: Iterable[Run], areas: Mapping[int, Sequence[Area]]) -> list[Stretch]:
    """The mappings that may come late, with most of them in the runs; pure.

    Args:
        runs: An artifact's memory.
        areas: The mappings of each process of which any may.
    """
    filled: Counter[tuple[int, int]] = Counter()
    ends: dict[tuple[int, int], int] = {}
    for run in runs:
        if run.kind == PRIVATE:
            for area in areas.get(run.owner, ()):
                if area.start <= run.start < area.end and area.may_come_late and area.length >= LEAST:
                    filled[run.owner, area.start] += run.length
                    ends[run.owner, area.start] = area.end
    return [
        Stretch(owner, start, ends[owner, start])
        for (owner, start), length in sorted(filled.items())
        if length * 8 >= (ends[owner, start] - start) * 7
    ]


class Late:
    """Stretches whose processes are held up where they touch what has not come yet; to be closed when all is there.

    Args:
        stretches: From `late_stretches`.
        runs: The artifact's memory.
        images: The images that the tree was restored from.
        descriptors: From CRIU: PID inside -> userfaultfd, which must stay open until `close`.

    Raises:
        OSError: The kernel refuses; nothing of the tree may run.
    """

    def __init__(self, stretches: Sequence[Stretch], runs: Sequence[Run], images: Path, descriptors: Mapping[int, int]) -> None:
        self.descriptors = {stretch.owner: descriptors[stretch.owner] for stretch in stretches if stretch.owner in descriptors}
        if len(self.descriptors) < len({stretch.owner for stretch in stretches}):
            raise ProcessLookupError("CRIU has not handed over what holds a process up")
        self._stretches = stretches
        for owner, descriptor in descriptors.items():
            here = [stretch for stretch in stretches if stretch.owner == owner]
            wanted = _within(here, runs)
            for start, length in _without(read_mappings(images / f"mm-{owner}.img"), wanted):
                Userfault(descriptor).release(start, length)
        self._events = Events(self.descriptors.values())

    @property
    def harm(self) -> str:
        """See Events."""
        return self._events.harm

    def close(self) -> None:
        """Nobody is held up any more."""
        for stretch in self._stretches:
            Userfault(self.descriptors[stretch.owner]).release(stretch.start, stretch.end - stretch.start)
        self._events.close()


def areas_of(images: Path, owners: Collection[int]) -> dict[int, list[Area]]:
    """The mappings of these processes. Raises ImageError, or OSError."""
    return {owner: read_mappings(images / f"mm-{owner}.img") for owner in owners}


def is_late(stretches: Iterable[Stretch], owner: int, address: int) -> bool:
    """The address is in one of them."""
    return any(stretch.owner == owner and stretch.start <= address < stretch.end for stretch in stretches)


def _within(stretches: Sequence[Stretch], runs: Sequence[Run]) -> list[tuple[int, int]]:
    """Where something will come: start and end, in order; a chunk of zeros is one of nothing."""
    found: list[tuple[int, int]] = []
    for run in sorted(runs, key=lambda run: run.start):
        if run.kind == PRIVATE and is_late(stretches, run.owner, run.start):
            found += _stored(run)
    return found


def _stored(run: Run) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number, digest in enumerate(run.chunks):
        start = run.start + number * CHUNK
        end = min(start + CHUNK, run.start + run.length)
        if digest is None:
            continue
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


def _without(areas: Sequence[Area], wanted: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Start and length of what CRIU holds up and nothing will come to."""
    found: list[tuple[int, int]] = []
    for area in areas:
        if not area.is_held_up:
            continue
        position = area.start
        for start, end in wanted:
            if area.start <= start < area.end:
                found.append((position, start - position))
                position = end
        found.append((position, area.end - position))
    return [(start, length) for start, length in found if length > 0]
