"""The application: it owns the session, its watch and its pace; everything else is in the screens."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from functools import cached_property, partial
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, cast

from textual.app import App, SystemCommand
from textual.css.query import NoMatches
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen, Screen
from textual.widgets import HelpPanel, Input
from textual.worker import Worker

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.ops import clock
from kubectl_chrek.tui.actions import ACTIONS, NEEDS, Where, bindings
from kubectl_chrek.tui.config import Config
from kubectl_chrek.tui.feed import Clock, Pause
from kubectl_chrek.tui.pace import Pace
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.session import ALL, Session
from kubectl_chrek.tui.source import Awaited, Contexts, Opened, Source

if TYPE_CHECKING:
    from kubectl_chrek.tui.commander import Commander

REDRAW_SECONDS: Final = 0.1
_TICK_SECONDS: Final = 1.0
_REST: Final = "kubectl_chrek.tui.commander"
"""The module that leads to all other screens."""
_REST_SECONDS: Final = 1.5


class ChrekApp(App[None]):
    """A live view of a cluster's checkpoints.

    Args:
        source: Where the objects come from, or what connects to them once the first frame is on the screen.
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
        source: Source | Callable[[], Awaitable[Opened]],
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
        self.failure: Exception | None = None
        """Why there was no connection."""
        self._connect = source if callable(source) else None
        self._contexts = contexts
        self._offered = {*NEEDS.values()}
        """The verbs whose keys are offered, as the screens show it."""
        shown = cast("Source", Awaited()) if callable(source) else source
        self.session = Session(shown, namespace, read_only, self.pace.ask, self._follow, now, pause)
        self._first_command = command
        self._config = config or Config()

    @cached_property
    def commander(self) -> "Commander":
        """What runs the lines of the command line. All screens come with it: they are not loaded before the first is drawn."""
        from kubectl_chrek.tui.commander import Commander

        return Commander(self, self.session, self._contexts)

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
        self.set_interval(_TICK_SECONDS, self._tick)
        if self._connect:
            self.call_after_refresh(self._run, partial(self._open, self._connect), "connection")
        else:
            self._begin()

    def _begin(self) -> None:
        self._follow()
        if self._first_command:
            self.call_next(self.action_command, self._first_command)

    async def _open(self, connect: Callable[[], Awaitable[Opened]]) -> None:
        """Connects. Without a connection the program ends, and says why as every command does."""
        try:
            opened = await connect()
        except Exception as error:
            self.failure = error
            self.exit()
            return
        self._contexts = opened.contexts
        # One that was made before knew of no other clusters.
        vars(self).pop("commander", None)
        cast("Awaited", self.session.source).become(opened.source)
        self.session.choose(opened.source, opened.namespace)
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
        allowed = {verb for verb in NEEDS.values() if self.session.may(verb)}
        if allowed != self._offered:
            self._offered = allowed
            self.screen.refresh_bindings()

    def _redraw(self) -> None:
        screen = self._drawable()
        if screen:
            screen.show_changes()
        if self._connect and self.session.checkpoints.synced:
            # Before somebody asks for another screen there is time to load them all.
            self._connect = None
            gc.freeze()
            self.set_timer(_REST_SECONDS, Thread(target=_load_rest, daemon=True).start)

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

    async def action_open_command_line(self, text: str = "") -> None:
        """Asks for a line, which begins with `text`, and runs it."""
        await self.commander.ask(text)

    def action_toggle_help(self) -> None:
        """Shows the keys that work here, or hides them."""
        try:
            self.screen.query_one(HelpPanel)
        except NoMatches:
            self.action_show_help_panel()
        else:
            self.action_hide_help_panel()


def _load_rest() -> None:
    import_module(_REST)
    # Modules stay as well: the garbage collector need not walk them.
    gc.freeze()
