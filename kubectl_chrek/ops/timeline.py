"""The phases of a capture or a restore: seconds, rate, and how near that is to what the node's hardware can do. Pure.

A phase that hashes and copies what it reads can be no faster than the slowest of these: that is its ceiling.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kubectl_chrek.api.node import Ceilings

COPY: Final = "memory copy"
HASH: Final = "hashing"
READ: Final = "store read"

_BOUNDS: Final[Mapping[str, tuple[str, ...]]] = {
    "memory": (COPY, HASH),
    "verify": (READ, HASH),
    "skeleton": (READ, HASH),
    "fill": (READ, HASH, COPY),
}
"""What each phase of an agent does with the bytes that it moves; others are bound by what nobody has measured."""
_READS_ALL: Final = frozenset({"digest", "memory", "verify"})
"""Phases of agents that did not say what each had moved: these read everything."""


@dataclass(frozen=True, slots=True)
class Step:
    """One phase. Rates are in bytes a second; 0: it moves none, or nobody has measured what bounds it."""

    name: str
    seconds: float
    part: float
    """Of the seconds of all phases, 0 to 1."""
    bytes: int = 0
    ceiling: float = 0.0
    bound: str = ""
    """What the ceiling is that of."""

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def share(self) -> float | None:
        """The part of the ceiling that it reached; None where there is none. Runs of zeros count as moved: it may be above 1."""
        return self.rate / self.ceiling if self.ceiling and self.rate else None


def steps(phases: Mapping[str, float], moved: Mapping[str, int], size: int, ceilings: Ceilings | None) -> list[Step]:
    """The phases in their order.

    Args:
        phases: Seconds by name.
        moved: Bytes by name, of those that move any.
        size: The artifact's bytes, for agents that did not say what a phase had moved.
        ceilings: Of the node where it was; None: not known.
    """
    total = sum(phases.values()) or 1.0
    known = moved or dict.fromkeys(_READS_ALL, size)
    return [
        Step(name, seconds, seconds / total, known.get(name, 0), *_ceiling(name, ceilings or Ceilings()))
        for name, seconds in phases.items()
    ]


def _ceiling(phase: str, ceilings: Ceilings) -> tuple[float, str]:
    """The slowest of what bounds a phase, of that which is known."""
    rates = {
        COPY: ceilings.copy_bytes_per_second,
        HASH: ceilings.hash_bytes_per_second,
        READ: ceilings.store_read_bytes_per_second,
    }
    found = [(float(rate), bound) for bound in _BOUNDS.get(phase, ()) if (rate := rates[bound])]
    return min(found, default=(0.0, ""))
