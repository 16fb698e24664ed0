"""What checkpoints take, kept current: the screen behind `df`."""

from collections.abc import Callable, Coroutine
from typing import Final

from kubectl_chrek.ops.usage import Report
from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.feed import Outage, Poll
from kubectl_chrek.tui.screens.entries import EntryScreen
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.storage import STORAGE_COLUMNS, storage_entries, storage_facts

POLL_SECONDS: Final = 15.0


class StorageScreen(EntryScreen):
    """A table of backends and models above the checkpoints of the current one."""

    WHERES = (Where.VIEW, Where.STORAGE)
    BINDINGS = [*bindings(Where.STORAGE)]
    COLUMNS = STORAGE_COLUMNS
    CRUMB = "storage"
    EMPTY = "Nothing is stored: no checkpoint has an artifact yet."
    _report: Poll[Report]

    def read_anew(self) -> None:
        """One question."""
        session = self.session
        self._report = session.poll(lambda: session.source.usage(session.namespace), POLL_SECONDS)

    def readers(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """One question."""
        return {"report": self._report.run}

    def health(self) -> tuple[bool, Outage | None]:
        """The answer's."""
        return self._report.synced, self._report.outage

    def entries(self) -> list[Entry]:
        """One for each group."""
        return storage_entries(self._report.value) if self._report.value else []

    def facts(self) -> list[tuple[str, str]]:
        """The sum."""
        return storage_facts(self._report.value) if self._report.value else []
