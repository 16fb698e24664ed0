"""The objects of a watch, kept current through outages."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cluster import Event

T = TypeVar("T")
Clock = Callable[[], datetime]
Pause = Callable[[float], Awaitable[None]]

LONGEST_PAUSE: Final = 30.0
# So many objects are read before other tasks get their turn: ten thousand of them must not freeze the screen.
_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class Outage:
    """What is shown may be old: since when, why, and when the next attempt is due."""

    since: datetime
    reason: str
    retry_at: datetime


class Feed(Generic[T]):
    """The objects of one watch by UID, each as `read` returns it.

    While the watch is down the last known objects stay, and `outage` says so; the first list after an outage replaces them.
    """

    def __init__(
        self,
        watch: Callable[[], AsyncGenerator[Event, None]],
        read: Callable[[dict[str, Any]], T],
        changed: Callable[[], None],
        *,
        now: Clock,
        pause: Pause,
    ) -> None:
        self.items: dict[str, T] = {}
        self.synced = False
        """A first list has been read."""
        self.outage: Outage | None = None
        self._watch = watch
        self._read = read
        self._changed = changed
        self._now = now
        self._pause = pause

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
            failures = failures + 1 if self.outage else 1
            seconds = min(2.0 ** (failures - 1), LONGEST_PAUSE)
            now = self._now()
            since = self.outage.since if self.outage else now
            self.outage = Outage(since, reason, now + timedelta(seconds=seconds))
            self._changed()
            await self._pause(seconds)

    async def _follow(self) -> None:
        fresh: dict[str, T] = {}
        seen = 0
        async with aclosing(self._watch()) as events:
            async for event in events:
                if event.type == "SYNCED":
                    self.items, self.synced, self.outage = fresh, True, None
                    self._changed()
                    continue
                uid = event.object["metadata"]["uid"]
                if event.type == "DELETED":
                    fresh.pop(uid, None)
                else:
                    fresh[uid] = self._read(event.object)
                if self.items is fresh:
                    self._changed()
                seen += 1
                if seen % _BATCH == 0:
                    await asyncio.sleep(0)


def _reason(error: Exception) -> str:
    hint = error.hint if isinstance(error, ChrekError) else ""
    return (str(error) or type(error).__name__) + (f" ({hint})" if hint else "")
