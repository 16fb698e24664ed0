"""What all screens over the live session have in common."""

from collections.abc import Callable, Coroutine
from typing import ClassVar

from textual.screen import Screen
from textual.worker import Worker, WorkerState

from kubectl_chrek.tui.actions import WRITING, Where
from kubectl_chrek.tui.plain import tell
from kubectl_chrek.tui.session import Session


class LiveScreen(Screen[None]):
    """A screen that is told when the session changed and when time has passed."""

    WHERE: ClassVar[Where]
    """Whose keys it answers."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def show_changes(self) -> None:
        """Draws the session's present state."""
        raise NotImplementedError

    def show_time(self) -> None:
        """Draws what moves with the clock alone; called once a second."""
        raise NotImplementedError

    def work(self, work: Callable[[], Coroutine[None, None, None]], group: str) -> None:
        """Runs `work` until it or the screen ends, instead of what else runs in this group."""
        _: Worker[None] = self.run_worker(work, group=group, exclusive=True, exit_on_error=False)

    def on_screen_resume(self) -> None:
        """A screen that was covered has missed changes."""
        self.show_changes()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In a read-only session what writes does not exist."""
        return not (self.session.read_only and action in WRITING)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """No worker fails in silence."""
        if event.state is WorkerState.ERROR:
            tell(self, event.worker.error, severity="error")

    def action_refresh_watch(self) -> None:
        """Lists and watches anew, without waiting for an outage's next attempt."""
        self.session.restart()
        tell(self, "Refreshed")
