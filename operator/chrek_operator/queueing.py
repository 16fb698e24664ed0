"""Which object is due when: one reconcile for each key at a time, and a failing key waits longer each time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from operator import itemgetter
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
        self._running: dict[asyncio.Task[None], K] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: K, delay: float = 0.0) -> None:
        """Makes the key due in `delay` seconds, or sooner if it was to be."""
        at = asyncio.get_running_loop().time() + delay
        self._due[key] = min(at, self._due.get(key, at))
        self._wake.set()

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
            tasks = list(self._running)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start_due(self, now: float) -> float | None:
        """Starts what is due; returns when the next key will be (None: when woken)."""
        busy = set(self._running.values())
        waiting = sorted(((at, key) for key, at in self._due.items() if key not in busy), key=itemgetter(0))
        for at, key in waiting:
            if len(self._running) >= self._workers:
                return None
            if at > now:
                return at
            del self._due[key]
            task = asyncio.create_task(self._attempt(key))
            self._running[task] = key
            task.add_done_callback(self._ended)
        return None

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._wake.set()

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
