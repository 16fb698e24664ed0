"""Seconds and bytes of each phase of a capture or a restore, in order, and the deadline of each."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from chrek_agent.errors import DeadlineError


class Phases:
    """Collects phases; `unaccounted` is what none of them covers.

    Args:
        began: Told the name of each phase when it begins.
        limits: Seconds that a phase may take, by name; one that is not in it may take for ever.
    """

    def __init__(self, began: Callable[[str], None] = lambda _: None, limits: Mapping[str, float] | None = None) -> None:
        self._began = began
        self._limits = limits or {}
        self._begin = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._bytes: dict[str, int] = {}
        self._beside = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block under this name.

        Raises:
            DeadlineError: It took longer than it may; it was cancelled as by asyncio.timeout.
        """
        begin = time.monotonic()
        self._began(name)
        try:
            with _deadline(name, self._limits.get(name, 0.0)):
                yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - begin

    def took(self, name: str, seconds: float) -> None:
        """Notes a phase that has been before the first moment, or beside the others."""
        self._seconds[name] = seconds
        self._beside += seconds

    def moved(self, name: str, count: int) -> None:
        """Notes that the phase has moved so many bytes more."""
        self._bytes[name] = self._bytes.get(name, 0) + count

    @property
    def total(self) -> float:
        """Seconds since the first moment."""
        return time.monotonic() - self._begin

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes by phase, of those that move any."""
        return dict(self._bytes)

    def summary(self) -> dict[str, float]:
        """Seconds by phase, rounded to a millisecond."""
        total = self.total
        accounted = sum(self._seconds.values()) - self._beside
        return {name: round(value, 3) for name, value in (self._seconds | {"unaccounted": max(0.0, total - accounted)}).items()}


@contextmanager
def _deadline(name: str, seconds: float) -> Iterator[None]:
    """As asyncio.timeout, but for a block that need not await; 0 seconds: no limit."""
    if not seconds:
        yield
        return
    task = asyncio.current_task()
    passed = False

    def expire() -> None:
        nonlocal passed
        passed = True
        if task is not None:
            task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        yield
    except asyncio.CancelledError as error:
        # Somebody else's cancellation, which may have come as well, goes on.
        if passed and task is not None and task.uncancel() == 0:
            raise DeadlineError(f"phase {name} did not finish in {seconds:g} s") from error
        raise
    finally:
        timer.cancel()


def boot_now() -> float:
    """Seconds of CLOCK_BOOTTIME: comparable with a process's start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
