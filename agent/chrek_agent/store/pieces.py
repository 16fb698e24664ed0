"""What a node's cache holds, in the order of its last use: what goes first, and what never goes. Pure; the cache has the lock."""

from collections import OrderedDict
from collections.abc import Iterable


class Pieces:
    """Sizes of pieces, and when they were last used, by their names `<pack>/...`. Those of packs that somebody has pinned stay.

    Attributes:
        size: Bytes of all.
    """

    def __init__(self) -> None:
        self.size = 0
        self._loose: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._pinned: dict[str, tuple[int, float]] = {}
        self._pins: dict[str, frozenset[str]] = {}
        self._packs: frozenset[str] = frozenset()

    def __contains__(self, name: str) -> bool:
        return name in self._loose or name in self._pinned

    def note(self, name: str, size: int, now: float) -> None:
        """A piece is there, and has been used now."""
        self.forget(name)
        self.size += size
        (self._pinned if self._is_pinned(name) else self._loose)[name] = size, now

    def forget(self, name: str) -> None:
        """A piece is no longer there."""
        self.size -= (self._loose.pop(name, None) or self._pinned.pop(name, (0, 0.0)))[0]

    def give_up(self, most: float, settled: float) -> list[str]:
        """Forgets those that were used longest ago, and not after `settled`, until all have `most` bytes; returns their names."""
        gone = []
        while self._loose and self.size > most:
            name, (_, used) = next(iter(self._loose.items()))
            if used > settled:
                break
            self.forget(name)
            gone.append(name)
        return gone

    def pin(self, holder: str, packs: Iterable[str]) -> None:
        """Pieces of these packs stay from now on, and no longer those of what the holder had pinned before."""
        self._pins[holder] = frozenset(packs)
        self._sort()

    def unpin(self, holder: str) -> None:
        """Takes that back."""
        if self._pins.pop(holder, None) is not None:
            self._sort()

    def _sort(self) -> None:
        self._packs = frozenset[str]().union(*self._pins.values())
        both = sorted((self._loose | self._pinned).items(), key=lambda item: item[1][1])
        self._pinned = {name: piece for name, piece in both if self._is_pinned(name)}
        self._loose = OrderedDict((name, piece) for name, piece in both if name not in self._pinned)

    def _is_pinned(self, name: str) -> bool:
        return name.partition("/")[0] in self._packs
