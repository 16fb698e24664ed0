"""What all screens of one run share: the source, the namespace, the clock and the live list."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from kubectl_chrek.tui.feed import Clock, Feed, Pause
from kubectl_chrek.tui.source import CheckpointSource
from kubectl_chrek.tui.views.rows import Row, read_row

ALL: Final = ""
"""The namespace that stands for all of them."""


def utc_now() -> datetime:
    """The clock of a real run."""
    return datetime.now(UTC)


def namespace_label(namespace: str) -> str:
    """A namespace as the banner and messages name it."""
    return namespace or "all namespaces"


@dataclass(slots=True)
class Session:
    """The state of one run of the TUI."""

    source: CheckpointSource
    namespace: str
    read_only: bool
    changed: Callable[[], None]
    """To be called after any change of what the screens show; many calls lead to few redraws."""
    restart: Callable[[], None]
    """Starts following `checkpoints` anew."""
    now: Clock = utc_now
    pause: Pause = asyncio.sleep
    checkpoints: Feed[Row] = field(init=False)

    def __post_init__(self) -> None:
        self.checkpoints = self._feed()

    def choose_namespace(self, namespace: str) -> None:
        """Shows another namespace. The list is empty at once, so that nobody acts on rows of the former one."""
        self.namespace = namespace
        self.checkpoints = self._feed()
        self.changed()
        self.restart()

    def _feed(self) -> Feed[Row]:
        return Feed(lambda: self.source.watch(self.namespace), read_row, self.changed, now=self.now, pause=self.pause)
