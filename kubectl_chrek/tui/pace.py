"""Many changes, few redraws."""

import asyncio
from collections.abc import Callable
from typing import Final

# A redraw may take at most this part of the time: with very many rows the rate falls, and keys still answer.
_SHARE: Final = 0.2


class Pace:
    """Turns any number of `ask()` into few calls of `act`: the first at once, then at most one every `interval` seconds.

    Args:
        act: The redraw.
        post: Runs a callable in the application's own order of messages.
        interval: The least time between two calls, in seconds.
    """

    def __init__(self, act: Callable[[], None], post: Callable[[Callable[[], None]], object], interval: float) -> None:
        self.pending = False
        """A call has been asked for and has not happened yet."""
        self._act = act
        self._post = post
        self._interval = interval
        self._next = 0.0

    def ask(self) -> None:
        """Asks for a call of `act`; further asking before it happens changes nothing."""
        if self.pending:
            return
        self.pending = True
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self._next), self._post, self._run)

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self.pending = False
        start = loop.time()
        self._act()
        end = loop.time()
        self._next = end + max(self._interval, (end - start) / _SHARE)
