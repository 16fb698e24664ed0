"""The objects of a watch, kept current through outages."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from kubectl_chrek.api.errors import ChrekError

if TYPE_CHECKING:
    from kubectl_chrek.cluster import Event

T = TypeVar("T")
Clock = Callable[[], datetime]
Pause = Callable[[float], Awaitable[None]]

LONGEST_PAUSE: Final = 30.0
# So many objects are read before other tasks get their turn: ten thousand of them must not freeze the screen.
_BATCH: Final = 50
_MANY: Final = 1000


@dataclass(frozen=True, slots=True)
class Outage:
    """What is shown may be old: since when, why, and when the next attempt is due."""

    since: datetime
    reason: str
    retry_at: datetime


class Feed(Generic[T]):
    """The objects of one watch by UID, each as `read` returns it.

    While the watch is down the last known objects stay, and `outage` says so; the first list after an outage replaces them.
    `failed` is told why each outage began.
    """

    def __init__(
        self,
        watch: Callable[[], "AsyncGenerator[Event, None]"],
        read: Callable[[dict[str, Any]], T],
        changed: Callable[[], None],
        *,
        now: Clock,
        pause: Pause,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.items: dict[str, T] = {}
        self.synced = False
        """A first list has been read."""
        self.outage: Outage | None = None
        self.lists = 0
        """How many times `items` were replaced by a list."""
        self.touched: set[str] = set()
        """UIDs of what changed since then, or since whoever follows changes one by one cleared it."""
        self._watch = watch
        self._read = read
        self._changed = changed
        self._now = now
        self._pause = pause
        self._failed = failed

    async def run(self) -> None:
        """Follows the watch until cancelled; after a failure it waits 1, 2, 4 ... seconds, at most `LONGEST_PAUSE`."""
        failures = 0
        while True:
            try:
                await self._follow()
                reason = "the watch ended"
            except Exception as error:
                # A feed outlives whatever a server answers, and says what it was.
                reason = _reason(error)
            gc.enable()
            failures = failures + 1 if self.outage else 1
            seconds = min(2.0 ** (failures - 1), LONGEST_PAUSE)
            self.outage = _outage(self.outage, reason, self._now(), seconds)
            if failures == 1:
                self._failed(reason)
            self._changed()
            await self._pause(seconds)

    async def _follow(self) -> None:
        fresh: dict[str, T] = {}
        seen = 0
        async with aclosing(self._watch()) as events:
            async for event in events:
                if event.type == "SYNCED":
                    self.items, self.synced, self.outage = fresh, True, None
                    self.lists += 1
                    self.touched.clear()
                    if len(fresh) >= _MANY:
                        # What is listed stays: to walk all of it again and again stops the screen, and its end.
                        gc.freeze()
                    gc.enable()
                    self._changed()
                    continue
                uid = event.object["metadata"]["uid"]
                if event.type == "DELETED":
                    fresh.pop(uid, None)
                else:
                    fresh[uid] = self._read(event.object)
                if self.items is fresh:
                    self.touched.add(uid)
                    self._changed()
                seen += 1
                if seen % _BATCH == 0:
                    await asyncio.sleep(0)


class Poll(Generic[T]):
    """A value that is asked for again and again. While nobody answers the last one stays, and `outage` says so."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        changed: Callable[[], None],
        *,
        seconds: float,
        now: Clock,
        pause: Pause,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.value: T | None = None
        self.outage: Outage | None = None
        self._ask = ask
        self._changed = changed
        self._seconds = seconds
        self._now = now
        self._pause = pause
        self._failed = failed

    @property
    def synced(self) -> bool:
        """There is an answer."""
        return self.value is not None

    async def run(self) -> None:
        """Asks every so many seconds until cancelled."""
        while True:
            try:
                self.value = await self._ask()
                self.outage = None
            except Exception as error:
                # As a feed, a poll outlives whatever a server answers.
                reason = _reason(error)
                if self.outage is None:
                    self._failed(reason)
                self.outage = _outage(self.outage, reason, self._now(), self._seconds)
            self._changed()
            await self._pause(self._seconds)


def _outage(before: Outage | None, reason: str, now: datetime, seconds: float) -> Outage:
    return Outage(before.since if before else now, reason, now + timedelta(seconds=seconds))


def _reason(error: Exception) -> str:
    hint = error.hint if isinstance(error, ChrekError) else ""
    return (str(error) or type(error).__name__) + (f" ({hint})" if hint else "")
