"""What the lines of the command line do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from textual.app import App
from textual.screen import Screen
from textual.widgets import Input

from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.tui.commands import Argument, Command, parse
from kubectl_chrek.tui.plain import clean, tell
from kubectl_chrek.tui.policies import parse_policy
from kubectl_chrek.tui.screens.command_line import CommandLine
from kubectl_chrek.tui.screens.doctor import DoctorScreen, NotesScreen
from kubectl_chrek.tui.screens.graphs import GraphsScreen
from kubectl_chrek.tui.screens.listing import ListScreen
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.screens.modals import Choose
from kubectl_chrek.tui.screens.nodes import NodesScreen
from kubectl_chrek.tui.screens.plan import PlanScreen
from kubectl_chrek.tui.screens.prewarm import PrewarmScreen
from kubectl_chrek.tui.screens.storage import StorageScreen
from kubectl_chrek.tui.session import ALL, Session
from kubectl_chrek.tui.source import Contexts

ALL_WORD: Final = "all"
"""The word for all namespaces."""


class Commander:
    """Runs commands on the application, and remembers them."""

    def __init__(self, app: App[None], session: Session, contexts: Contexts | None) -> None:
        self.history: list[str] = []
        self._app = app
        self._session = session
        self._contexts = contexts
        self._screens: Mapping[str, Callable[[str], LiveScreen]] = {
            "graphs": lambda _: GraphsScreen(session),
            "nodes": lambda _: NodesScreen(session),
            "storage": lambda _: StorageScreen(session),
            "gc": lambda flags: PlanScreen(session, parse_policy(flags)),
            "doctor": lambda _: DoctorScreen(session),
            "prewarm": self._prewarm,
            "errors": lambda _: NotesScreen(session),
        }
        self._verbs: Mapping[str, Callable[[str], Awaitable[object] | None]] = {
            "ns": self._choose_namespace,
            "ctx": self._choose_context,
            "filter": self._filter,
            "theme": self._choose_theme,
            "save": lambda path: self._save(path, "txt", self._told()),
            "screenshot": lambda path: self._save(path, "svg", app.export_screenshot(title="kubectl chrek")),
            "help": lambda _: app.run_action("toggle_help"),
            "quit": lambda _: app.exit(),
        }

    async def ask(self, text: str = "") -> None:
        """Asks for a line and runs it. The line has the keys at once: nothing typed after the colon may act as a key."""
        screen = CommandLine(self.history, self._offers(), text)
        await self._app.push_screen(screen, self._answered)
        screen.set_focus(screen.query_one(Input))

    def _answered(self, line: str | None) -> None:
        if line:
            self.history = [*(each for each in self.history if each != line), line]
            self._app.call_next(self.run, line)

    async def run(self, line: str) -> None:
        """Runs a line; what is wrong with it is told."""
        try:
            command, argument = parse(line)
            await self._run(command, argument)
        except ChrekError as error:
            tell(self._app, f"{error}{f': {error.hint}' if error.hint else ''}", severity="error")

    async def _run(self, command: Command, argument: str) -> None:
        if command.screen:
            screen = self._screens[command.name](argument) if command.name in self._screens else None
            if argument and command.argument is Argument.NAMESPACE:
                self._choose_namespace(argument)
            await self._go(screen)
            return
        done = self._verbs[command.name](argument)
        if done is not None:
            await done

    async def _go(self, screen: LiveScreen | None) -> None:
        """Back to the first screen and on to this one: breadcrumbs stay short, and escape leads to the list."""
        while len(self._app.screen_stack) > 1:
            await self._app.pop_screen()
        if screen is not None:
            await self._app.push_screen(screen)

    def _prewarm(self, _: str) -> LiveScreen:
        if self._session.read_only:
            raise UsageError("this session is read-only")
        return PrewarmScreen(self._session)

    def _choose_namespace(self, namespace: str) -> None:
        chosen = ALL if namespace in ("", ALL_WORD, "*") else namespace
        if chosen != self._session.namespace:
            self._session.choose_namespace(chosen)

    async def _choose_context(self, name: str) -> None:
        if self._contexts is None:
            raise UsageError("there is no other cluster to go to")
        if not name:
            self._ask_which("Context", "ctx", self._contexts.names(), self._session.source.context)
            return
        source = await self._contexts.open(name)
        await self._go(None)
        self._session.choose(source, ALL if self._session.namespace == ALL else source.home)

    def _filter(self, text: str) -> None:
        screen: Screen[object] = self._app.screen
        if not isinstance(screen, ListScreen):
            raise UsageError("there is nothing to filter here")
        screen.set_filter(text)

    def _ask_which(self, title: str, command: str, choices: Sequence[str], current: str) -> None:
        """Shows what may follow a command, and runs it with what is chosen."""

        def chosen(choice: str | None) -> None:
            if choice is not None:
                self._app.call_next(self.run, f"{command} {choice}")

        self._app.push_screen(Choose(title, choices, current), chosen)

    def _choose_theme(self, name: str) -> None:
        if not name:
            self._ask_which("Theme", "theme", sorted(self._app.available_themes), self._app.theme)
            return
        if name not in self._app.available_themes:
            raise UsageError(f"there is no theme {name!r}", hint=f"one of {', '.join(sorted(self._app.available_themes))}")
        self._app.theme = name

    def _told(self) -> str:
        screen: Screen[object] = self._app.screen
        return screen.as_text() if isinstance(screen, LiveScreen) else ""

    def _save(self, path: str, kind: str, text: str) -> None:
        where = Path(path or f"kubectl-chrek-{self._session.now():%Y%m%d-%H%M%S}.{kind}").expanduser()
        try:
            where.write_text(text)
        except OSError as error:
            raise UsageError(f"cannot write {where}: {error.strerror}") from error
        tell(self._app, f"Saved {where}")

    def _offers(self) -> Mapping[Argument, Sequence[str]]:
        rows = self._session.checkpoints.items.values()
        named = {row.namespace for row in rows} | {self._session.namespace} - {ALL}
        seen = sorted(name for name in named if name == clean(name))
        return {
            Argument.NAMESPACE: [*seen, ALL_WORD],
            Argument.CONTEXT: self._contexts.names() if self._contexts else [],
            Argument.THEME: sorted(self._app.available_themes),
        }
