"""Which object is due when: one reconcile for each key at a time, and a failing key waits longer each time."""

import asyncio
import heapq
import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from kubectl_chrek.api.errors import ChrekError, ConflictError

LOG: Final = logging.getLogger(__name__)
FIRST_BACKOFF: Final = 0.5
LONGEST_BACKOFF: Final = 60.0
CONFLICT_DELAY: Final = 0.1
WORKERS: Final = 8

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys with the times they are due. Times are in seconds of the event loop's clock."""

    def __init__(self, handle: Callable[[K], Awaitable[float | None]], *, workers: int = WORKERS) -> None:
        self._handle = handle
        self._workers = workers
        self._due: dict[K, float] = {}
        self._order: list[tuple[float, int, K]] = []
        """A heap of what is due. An entry counts if its time is the key's in `_due`: others have been overtaken."""
        self._count = itertools.count()
        self._running: dict[K, asyncio.Task[None]] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: K, delay: float = 0.0) -> None:
        """Makes the key due in `delay` seconds, or sooner if it was to be."""
        at = asyncio.get_running_loop().time() + delay
        if at < self._due.get(key, math.inf):
            self._due[key] = at
            self._push(key)
        self._wake.set()

    def __len__(self) -> int:
        """How many keys are due, now or later."""
        return len(self._due)

    async def run(self) -> None:
        """Handles keys as they become due, until cancelled; what is being handled then is cancelled too."""
        try:
            while True:
                self._wake.clear()
                next_due = self._start_due(asyncio.get_running_loop().time())
                try:
                    async with asyncio.timeout_at(next_due):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start_due(self, now: float) -> float | None:
        """Starts what is due; returns when the next key will be (None: when woken)."""
        while self._order and len(self._running) < self._workers:
            at, _, key = self._order[0]
            if self._due.get(key) != at or key in self._running:
                # One that is being handled comes back here when that has ended.
                heapq.heappop(self._order)
                continue
            if at > now:
                return at
            heapq.heappop(self._order)
            del self._due[key]
            task = self._running[key] = asyncio.create_task(self._attempt(key))
            task.add_done_callback(lambda _, key=key: self._ended(key))  # type: ignore[misc]
        return None

    def _ended(self, key: K) -> None:
        del self._running[key]
        if key in self._due:
            self._push(key)
        self._wake.set()

    def _push(self, key: K) -> None:
        heapq.heappush(self._order, (self._due[key], next(self._count), key))

    async def _attempt(self, key: K) -> None:
        try:
            delay = await self._handle(key)
        except ConflictError as error:
            LOG.debug("%s: changed meanwhile, reading it again: %s", key, error)
            delay = self._backoff(key, CONFLICT_DELAY)
        except ChrekError as error:
            delay = self._backoff(key, FIRST_BACKOFF)
            LOG.warning("%s: %s; next try in %.1f s", key, error, delay)
        except Exception:
            delay = self._backoff(key, FIRST_BACKOFF)
            LOG.exception("%s: failed; next try in %.1f s", key, delay)
        else:
            self._failures.pop(key, None)
        if delay is not None:
            self.add(key, delay)

    def _backoff(self, key: K, first: float) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return float(min(first * 2 ** min(failures - 1, 10), LONGEST_BACKOFF))
