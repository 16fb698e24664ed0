"""How many requests to a remote store are worth while at once: more, as long as more of them bring more bytes. Pure."""

from dataclasses import dataclass
from typing import Final

FIRST: Final = 4
MOST: Final = 16
_STEP: Final = 2
_GAIN: Final = 1.1
"""What two more have to bring, or there will be no more."""


@dataclass(slots=True)
class Pace:
    """`parallel` is the answer; it changes as requests end."""

    parallel: int = FIRST
    best: float = 0.0
    """Bytes per second, the most that was measured."""
    _settled: bool = False
    _bytes: int = 0
    _ended: int = 0
    _begun: float | None = None

    def note(self, size: int, now: float) -> None:
        """A request for so many bytes has ended. The first only starts the clock."""
        if self._settled:
            return
        if self._begun is None:
            self._begun = now
            return
        self._bytes += size
        self._ended += 1
        if self._ended >= 2 * self.parallel and now > self._begun:
            self._judge(self._bytes / (now - self._begun))
            self._bytes, self._ended, self._begun = 0, 0, now

    def _judge(self, rate: float) -> None:
        if rate > self.best * _GAIN and self.parallel < MOST:
            self.parallel += _STEP
        else:
            self._settled = True
        self.best = max(self.best, rate)
