"""What is wrong with the installation and what mends it, kept current: the screen behind `doctor`."""

from collections.abc import Callable, Coroutine
from typing import Final

from kubectl_chrek.ops.findings import Finding
from kubectl_chrek.tui.actions import Where
from kubectl_chrek.tui.feed import Outage, Poll
from kubectl_chrek.tui.screens.entries import EntryScreen
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.findings import FINDING_COLUMNS, NOTE_COLUMNS, finding_entries, finding_facts, note_entries

POLL_SECONDS: Final = 30.0


class DoctorScreen(EntryScreen):
    """A table of findings above what to do about the current one; `c` copies that."""

    WHERES = (Where.VIEW,)
    COLUMNS = FINDING_COLUMNS
    CRUMB = "doctor"
    EMPTY = "Nothing was found out."
    _findings: Poll[list[Finding]]

    def read_anew(self) -> None:
        """One question."""
        session = self.session
        self._findings = session.poll(lambda: session.source.findings(session.namespace, session.now()), POLL_SECONDS)

    def readers(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """One question."""
        return {"findings": self._findings.run}

    def health(self) -> tuple[bool, Outage | None]:
        """The answer's."""
        return self._findings.synced, self._findings.outage

    def entries(self) -> list[Entry]:
        """The worst first."""
        return finding_entries(self._findings.value or [])

    def facts(self) -> list[tuple[str, str]]:
        """How many of each verdict."""
        return finding_facts(self._findings.value or [])


class NotesScreen(EntryScreen):
    """What the user has been told in this session, also what has vanished from the screen since."""

    WHERES = (Where.VIEW,)
    COLUMNS = NOTE_COLUMNS
    CRUMB = "errors"
    EMPTY = "Nothing went wrong so far."
    NAMESPACED = False

    def read_anew(self) -> None:
        """It is all there."""

    def readers(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """It is all there."""
        return {}

    def health(self) -> tuple[bool, Outage | None]:
        """The list's."""
        return True, self.session.checkpoints.outage

    def entries(self) -> list[Entry]:
        """The newest first."""
        return note_entries(self.session.notes, self.session.now())
