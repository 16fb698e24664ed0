"""What all screens of one run share: the source, the namespace, the clock, the live list, and what has been said to the user."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kubectl_chrek.ops import clock
from kubectl_chrek.tui.feed import Clock, Feed, Pause, Poll
from kubectl_chrek.tui.views.reading import read_row
from kubectl_chrek.tui.views.rows import Row

if TYPE_CHECKING:
    from kubectl_chrek.cluster import Event
    from kubectl_chrek.tui.source import Source

T = TypeVar("T")

ALL: Final = ""
"""The namespace that stands for all of them."""
_MOST_NOTES: Final = 500


def namespace_label(namespace: str) -> str:
    """A namespace as the banner and messages name it."""
    return namespace or "all namespaces"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the user was told `count` times in a row, at last `at`.

    `severity` is Textual's: information, warning or error.
    """

    at: datetime
    severity: str
    message: str
    count: int = 1


@dataclass(slots=True)
class Session:
    """The state of one run of the TUI."""

    source: "Source"
    namespace: str
    read_only: bool
    changed: Callable[[], None]
    """To be called after any change of what the screens show; many calls lead to few redraws."""
    restart: Callable[[], None]
    """Starts following everything anew."""
    now: Clock = clock.now
    pause: Pause = asyncio.sleep
    rights: frozenset[str] | None = None
    """The verbs on checkpoints that the user may use in the namespace; None: not known, so the server will tell."""
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=_MOST_NOTES))
    epoch: int = 0
    """Counts changes of cluster and namespace: what was read in a former one is not shown any more."""
    checkpoints: Feed[Row] = field(init=False)

    def __post_init__(self) -> None:
        self.checkpoints = self._checkpoints()

    def choose_namespace(self, namespace: str) -> None:
        """Shows another namespace. The list is empty at once, so that nobody acts on rows of the former one."""
        self.choose(self.source, namespace)

    def choose(self, source: "Source", namespace: str) -> None:
        """Shows a namespace of a cluster, as above."""
        self.source, self.namespace = source, namespace
        self.rights = None
        self.epoch += 1
        self.checkpoints = self._checkpoints()
        self.changed()
        self.restart()

    def may(self, verb: str) -> bool:
        """The user may do this with checkpoints here, as far as is known."""
        return self.rights is None or verb in self.rights

    def feed(self, watch: Callable[[], "AsyncGenerator[Event, None]"], read: Callable[[dict[str, Any]], T]) -> Feed[T]:
        """A feed of another kind that draws the screens."""
        return Feed(watch, read, self.changed, now=self.now, pause=self.pause, failed=self.note)

    def poll(self, ask: Callable[[], Awaitable[T]], seconds: float) -> Poll[T]:
        """A poll that draws the screens."""
        return Poll(ask, self.changed, seconds=seconds, now=self.now, pause=self.pause, failed=self.note)

    def note(self, message: str, severity: str = "error") -> None:
        """Keeps what was told, for the view of errors; the same again, as from several watches that end together, is counted."""
        last = self.notes[-1] if self.notes else None
        again = last is not None and (last.severity, last.message) == (severity, message)
        count = self.notes.pop().count + 1 if again else 1
        self.notes.append(Note(self.now(), severity, message, count))

    def _checkpoints(self) -> Feed[Row]:
        return self.feed(lambda: self.source.watch(self.namespace), read_row)
