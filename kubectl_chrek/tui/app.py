"""The application: it owns the session, its watch and its pace; everything else is in the screens."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from textual.app import App, SystemCommand
from textual.css.query import NoMatches
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen, Screen
from textual.widgets import HelpPanel, Input
from textual.worker import Worker

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.ops import clock
from kubectl_chrek.tui.actions import ACTIONS, Where, bindings
from kubectl_chrek.tui.commander import Commander
from kubectl_chrek.tui.config import Config
from kubectl_chrek.tui.feed import Clock, Pause
from kubectl_chrek.tui.pace import Pace
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.session import ALL, Session
from kubectl_chrek.tui.source import Contexts, Source

REDRAW_SECONDS: Final = 0.1
_TICK_SECONDS: Final = 1.0


class ChrekApp(App[None]):
    """A live view of a cluster's checkpoints.

    Args:
        source: Where the objects come from.
        contexts: Where else they could come from; None: nowhere.
        namespace: The one to show first; "" means all.
        read_only: Nothing that changes the cluster can be done.
        command: A line of the command line, run at the start.
        config: The user's keys and theme.
        now: The clock.
        pause: Waits so many seconds, between attempts and polls.
        redraw_seconds: The least time between two redraws.
    """

    TITLE = "kubectl chrek"
    BINDINGS = [*bindings(Where.APP)]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]

    def __init__(
        self,
        source: Source,
        *,
        contexts: Contexts | None = None,
        namespace: str = ALL,
        read_only: bool = False,
        command: str = "",
        config: Config | None = None,
        now: Clock = clock.now,
        pause: Pause = asyncio.sleep,
        redraw_seconds: float = REDRAW_SECONDS,
    ) -> None:
        super().__init__()
        self.pace = Pace(self._redraw, self.call_next, redraw_seconds)
        self.session = Session(source, namespace, read_only, self.pace.ask, self._follow, now, pause)
        self.commander = Commander(self, self.session, contexts)
        self._first_command = command
        self._config = config or Config()

    def get_default_screen(self) -> CheckpointsScreen:
        """The list is where everything starts."""
        return CheckpointsScreen(self.session)

    async def on_mount(self) -> None:
        """Starts the watch and the clock, and goes where the user wants to start."""
        self.set_keymap(self._config.keys)
        if self._config.theme in self.available_themes:
            self.theme = self._config.theme
        elif self._config.theme:
            self.notify(f"there is no theme {self._config.theme}", severity="warning", markup=False)
        self._follow()
        self.set_interval(_TICK_SECONDS, self._tick)
        if self._first_command:
            self.call_next(self.action_command, self._first_command)

    def notify(self, message: str, *, severity: SeverityLevel = "information", **options: Any) -> None:
        """As Textual's, and keeps what was said."""
        self.session.note(message, severity)
        super().notify(message, severity=severity, **options)

    def _follow(self) -> None:
        """Reads everything anew; screens that read for themselves do as well."""
        self._run(self.session.checkpoints.run, "checkpoints")
        self._run(self._read_rights, "rights")
        for screen in self.screen_stack:
            if isinstance(screen, LiveScreen) and screen.is_mounted:
                screen.begin()

    def _run(self, work: Any, group: str) -> None:
        _: Worker[None] = self.run_worker(work, group=group, exclusive=True, exit_on_error=False)

    async def _read_rights(self) -> None:
        """A server that does not tell leaves everything offered: it will refuse by itself."""
        try:
            self.session.rights = await self.session.source.rights(self.session.namespace)
        except ChrekError:
            self.session.rights = None
        self.screen.refresh_bindings()

    def _redraw(self) -> None:
        screen = self._drawable()
        if screen:
            screen.show_changes()

    def _tick(self) -> None:
        screen = self._drawable()
        if screen:
            screen.show_time()

    def _drawable(self) -> LiveScreen | None:
        """The screen on top, unless it is a question, not composed yet, or being taken apart."""
        screen = self.screen if self.is_running else None
        return screen if isinstance(screen, LiveScreen) and screen.is_mounted else None

    def get_system_commands(self, screen: Screen[object]) -> Iterator[SystemCommand]:
        """The palette offers the actions of the screen it is opened on, and the system's own."""
        yield from super().get_system_commands(screen)
        wheres = screen.WHERES if isinstance(screen, LiveScreen) else ()
        for action in ACTIONS:
            if action.where in wheres and screen.check_action(action.method, ()):
                yield SystemCommand(
                    action.label, f"Key: {action.shown_key or action.keys}", lambda method=action.method: screen.run_action(method)
                )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A colon that is typed into a field, or while a question stands, is a colon."""
        return action != "open_command_line" or not (isinstance(self.focused, Input) or isinstance(self.screen, ModalScreen))

    # -- keys ------------------------------------------------------------------------------------------------

    async def action_command(self, line: str) -> None:
        """Runs a line of the command line."""
        await self.commander.run(line)

    async def action_open_command_line(self) -> None:
        """Asks for a line and runs it."""
        await self.commander.ask()

    def action_toggle_help(self) -> None:
        """Shows the keys that work here, or hides them."""
        try:
            self.screen.query_one(HelpPanel)
        except NoMatches:
            self.action_show_help_panel()
        else:
            self.action_hide_help_panel()
