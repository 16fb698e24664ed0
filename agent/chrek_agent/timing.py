"""Seconds of each phase of a capture or a restore, in order."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Collects phases; `unaccounted` is what none of them covers."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block under this name."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - begin

    @property
    def total(self) -> float:
        """Seconds since the first moment."""
        return time.monotonic() - self._begin

    def summary(self) -> dict[str, float]:
        """Seconds by phase, rounded to a millisecond."""
        total = self.total
        accounted = sum(self._seconds.values())
        return {name: round(value, 3) for name, value in (self._seconds | {"unaccounted": max(0.0, total - accounted)}).items()}


def boot_now() -> float:
    """Seconds of CLOCK_BOOTTIME: comparable with a process's start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
