"""What of a process's memory goes where: pure.

A dump's pages are long runs of anonymous memory, and very many short stretches. The runs (bulk) are stored by themselves and
written into the restored processes later; the rest stays in CRIU's images, which then take CRIU a tenth of a second.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chrek_agent.criu.mappings import Mapping
from chrek_agent.criu.pagemap import LAZY, PRESENT, Entry, Pagemap
from chrek_agent.criu.wire import ImageError

BULK: Final = 256 << 10
"""Shortest run that is stored by itself. With 1 MiB too much of a torch worker stays behind; with less the runs grow many."""
HUGE: Final = 4 << 20
"""Smallest mapping that is put on huge pages."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Pages without a gap: `start` as in the pagemap, and where their content is: at `at` in the pages image, or still in place."""

    start: int
    length: int
    at: int | None

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Split:
    """One pagemap, taken apart. `huge` are the starts of mappings that are as good as full of bulk."""

    bulk: tuple[Stretch, ...]
    rest: tuple[Stretch, ...]
    huge: frozenset[int]


def split(pagemap: Pagemap, mappings: Sequence[Mapping]) -> Split:
    """Takes a process's pagemap apart. Runs end where a mapping does. Raises ImageError."""
    bulk: list[Stretch] = []
    rest: list[Stretch] = []
    starts = [mapping.start for mapping in mappings]
    for stretch, lazy in _merge(pagemap.entries):
        for part in _cut(stretch, starts):
            (bulk if lazy and part.length >= BULK else rest).append(part)
    return Split(tuple(bulk), tuple(rest), _huge(bulk, mappings, starts))


def split_shared(pagemap: Pagemap, *, within_reach: bool) -> Split:
    """Takes the pagemap of a shared memory object apart; one out of reach after a restore is all rest. Raises ImageError."""
    stretches = [stretch for stretch, _ in _merge(pagemap.entries)]
    bulk = tuple(stretch for stretch in stretches if within_reach and stretch.length >= BULK)
    return Split(bulk, tuple(stretch for stretch in stretches if stretch not in bulk), frozenset())


def rest_entries(split_: Split) -> tuple[Entry, ...]:
    """The pagemap of the rest alone."""
    return tuple(Entry(stretch.start, stretch.length, PRESENT) for stretch in split_.rest)


def _merge(entries: Sequence[Entry]) -> Iterator[tuple[Stretch, bool]]:
    """Neighbours of a kind as one, each with whether it may be bulk: CRIU begins a new entry with each of its pipes."""
    at = 0
    open_: tuple[Stretch, bool] | None = None
    for entry in entries:
        if not entry.flags & (PRESENT | LAZY):
            raise ImageError("a pagemap has pages that are nowhere")
        lazy, present = bool(entry.flags & LAZY), bool(entry.flags & PRESENT)
        stretch = Stretch(entry.start, entry.length, at if present else None)
        at += entry.length if present else 0
        if open_ is not None:
            last, kind = open_
            if last.end == stretch.start and kind == lazy and (last.at is None) == (stretch.at is None):
                open_ = Stretch(last.start, last.length + stretch.length, last.at), kind
                continue
            yield open_
        open_ = stretch, lazy
    if open_ is not None:
        yield open_


def _cut(stretch: Stretch, starts: Sequence[int]) -> Iterator[Stretch]:
    """The stretch in pieces that each lie in one mapping: what is equal in two workers then is cut equally."""
    begin = stretch.start
    for index in range(bisect_right(starts, begin), bisect_left(starts, stretch.end)):
        yield _part(stretch, begin, starts[index])
        begin = starts[index]
    yield _part(stretch, begin, stretch.end)


def _part(stretch: Stretch, begin: int, end: int) -> Stretch:
    return Stretch(begin, end - begin, None if stretch.at is None else stretch.at + begin - stretch.start)


def _huge(bulk: Sequence[Stretch], mappings: Sequence[Mapping], starts: Sequence[int]) -> frozenset[int]:
    """Mappings that huge pages would cost next to no memory: seven eighths of them are bulk."""
    filled: dict[int, int] = {}
    for stretch in bulk:
        index = bisect_right(starts, stretch.start) - 1
        filled[index] = filled.get(index, 0) + stretch.length
    return frozenset(
        mappings[index].start
        for index, length in filled.items()
        if index >= 0
        and mappings[index].may_be_huge
        and mappings[index].length >= HUGE
        and length * 8 >= mappings[index].length * 7
    )
