"""The application: it owns the session, its watch and its pace; everything else is in the screens."""

import asyncio
import os
import sys
from collections.abc import Iterator
from typing import Final

from textual.app import App, SystemCommand
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.widgets import HelpPanel
from textual.worker import Worker

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.tui.actions import ACTIONS, Where, bindings
from kubectl_chrek.tui.feed import Clock, Pause
from kubectl_chrek.tui.pace import Pace
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.session import ALL, Session, utc_now
from kubectl_chrek.tui.source import CheckpointSource, ClusterSource

REDRAW_SECONDS: Final = 0.1
_TICK_SECONDS: Final = 1.0


class ChrekApp(App[None]):
    """A live view of a cluster's checkpoints.

    Args:
        source: Where the objects come from.
        namespace: The one to show first; "" means all.
        read_only: Nothing that changes the cluster can be done.
        now: The clock.
        pause: Waits so many seconds, between attempts and polls.
        redraw_seconds: The least time between two redraws.
    """

    TITLE = "kubectl chrek"
    BINDINGS = [*bindings(Where.APP)]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]

    def __init__(
        self,
        source: CheckpointSource,
        *,
        namespace: str = ALL,
        read_only: bool = False,
        now: Clock = utc_now,
        pause: Pause = asyncio.sleep,
        redraw_seconds: float = REDRAW_SECONDS,
    ) -> None:
        super().__init__()
        self.pace = Pace(self._redraw, self.call_next, redraw_seconds)
        self.session = Session(source, namespace, read_only, self.pace.ask, self._follow, now, pause)

    def get_default_screen(self) -> CheckpointsScreen:
        """The list is where everything starts."""
        return CheckpointsScreen(self.session)

    def on_mount(self) -> None:
        """Starts the watch and the clock."""
        self._follow()
        self.set_interval(_TICK_SECONDS, self._tick)

    def _follow(self) -> None:
        run = self.session.checkpoints.run
        _: Worker[None] = self.run_worker(run, group="checkpoints", exclusive=True, exit_on_error=False)

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
        where = screen.WHERE if isinstance(screen, LiveScreen) else Where.APP
        for action in ACTIONS:
            if action.where is where and screen.check_action(action.method, ()):
                yield SystemCommand(
                    action.label, f"Key: {action.shown_key or action.keys}", lambda method=action.method: screen.run_action(method)
                )

    def action_toggle_help(self) -> None:
        """Shows the keys that work here, or hides them."""
        try:
            self.screen.query_one(HelpPanel)
        except NoMatches:
            self.action_show_help_panel()
        else:
            self.action_hide_help_panel()


def run_tui(*, kubeconfig: str | None, context: str | None, namespace: str | None, all_namespaces: bool, read_only: bool) -> int:
    """Runs the TUI until its user quits; returns the process's exit code.

    Args:
        kubeconfig: Path of a kubeconfig.
        context: Context in it.
        namespace: The namespace to show; default the context's.
        all_namespaces: Show all of them instead.
        read_only: Nothing that changes the cluster can be done.

    Raises:
        UsageError: There is no terminal to draw on.
        ChrekError: The cluster cannot be reached.
    """
    # Textual draws on stderr and would run unseen with all three redirected.
    if not all(stream is not None and stream.isatty() for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        raise UsageError("the TUI needs a terminal", hint="use `kubectl chrek ls` in scripts and pipes")

    async def run() -> int:
        async with Cluster.connect(kubeconfig=kubeconfig, context=context, namespace=namespace) as cluster:
            await cluster.version()
            shown = ALL if all_namespaces else cluster.namespace
            app = ChrekApp(ClusterSource(cluster), namespace=shown, read_only=read_only)
            await app.run_async()
            return app.return_code or os.EX_OK

    return asyncio.run(run())
