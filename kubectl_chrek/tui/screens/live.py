"""What all screens over the live session have in common."""

from collections.abc import Callable, Coroutine
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import HelpPanel, Input
from textual.worker import Worker, WorkerState

from kubectl_chrek.tui.actions import NEEDS, Where
from kubectl_chrek.tui.feed import Outage
from kubectl_chrek.tui.plain import tell
from kubectl_chrek.tui.session import Session
from kubectl_chrek.tui.views.status import state
from kubectl_chrek.tui.widgets.banner import Banner

T = TypeVar("T")


@runtime_checkable
class Tells(Protocol):
    """A widget whose content can be had as plain text."""

    def as_text(self) -> str:
        """All of it."""
        ...


class LiveScreen(Screen[None]):
    """A screen that is told when the session changed and when time has passed."""

    WHERES: ClassVar[tuple[Where, ...]]
    """Whose keys it answers."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def crumbs(self) -> list[str]:
        """Its part of the breadcrumbs."""
        raise NotImplementedError

    def as_text(self) -> str:
        """All that it tells, also what there is no room for on the screen: a table's rows, a text's lines."""
        tellers = (each for each in self.query("VirtualTable, LogPane, Pane Plain") if isinstance(each, Tells))
        in_view = (each for each in tellers if all(part.display for part in each.ancestors_with_self if isinstance(part, Widget)))
        told = (each.as_text().rstrip() for each in in_view)
        return "\n\n".join(text for text in told if text) + "\n"

    def begin(self) -> None:
        """Starts reading what only this screen shows; also after a refresh, and when cluster or namespace are others."""

    def show_changes(self) -> None:
        """Draws the session's present state."""
        raise NotImplementedError

    def show_time(self) -> None:
        """Draws what moves with the clock alone; called once a second."""
        raise NotImplementedError

    def show_banner(self, facts: Content, *, synced: bool, outage: Outage | None) -> None:
        """Draws the two lines on top; the breadcrumbs are those of all screens that one came through."""
        session, source = self.session, self.session.source
        below = [screen for screen in self.app.screen_stack if isinstance(screen, LiveScreen)]
        self.query_one(Banner).show(
            crumbs=[crumb for screen in below for crumb in screen.crumbs()],
            facts=facts,
            server=f"{source.context}  {source.server}" if source.context else source.server,
            state=state(synced=synced, outage=outage, read_only=session.read_only, now=session.now()),
        )

    async def ask(self, question: ModalScreen[T], answered: Callable[[T | None], None]) -> None:
        """Asks. The question has the keys when this returns: none that is pressed after it may act on what lies below."""
        await self.app.push_screen(question, answered)
        if question.focused is None and question.AUTO_FOCUS:
            question.set_focus(question.query_one(question.AUTO_FOCUS))

    def work(self, work: Callable[[], Coroutine[None, None, None]], group: str) -> None:
        """Runs `work` until it or the screen ends, instead of what else runs in this group."""
        _: Worker[None] = self.run_worker(work, group=group, exclusive=True, exit_on_error=False)

    def on_screen_resume(self) -> None:
        """A screen that was covered has missed changes."""
        self.show_changes()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What writes does not exist in a read-only session, and is out of reach for whoever lacks the right."""
        if action == "filter" and isinstance(self.focused, Input):
            return False
        verb = NEEDS.get(action)
        if verb is None:
            return True
        if self.session.read_only:
            return False
        return True if self.session.may(verb) else None

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """No worker fails in silence."""
        if event.state is WorkerState.ERROR:
            tell(self, event.worker.error, severity="error")

    def close_help(self) -> bool:
        """Closes the help, which lies over everything else and so is what escape closes first; False when it is not open."""
        panel = self.query(HelpPanel)
        if not panel:
            return False
        panel.remove()
        return True

    def action_refresh_watch(self) -> None:
        """Lists and watches anew, without waiting for an outage's next attempt."""
        self.session.restart()
        tell(self, "Refreshed")
