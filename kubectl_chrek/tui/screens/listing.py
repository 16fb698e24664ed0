"""What all screens that are a table have in common: a filter, the namespace, the cursor's name."""

from collections.abc import Iterable

from textual import on
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Footer, Input

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.plain import clean, tell
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.screens.modals import Choose
from kubectl_chrek.tui.session import ALL, namespace_label
from kubectl_chrek.tui.widgets.banner import Banner


class ListScreen(LiveScreen):
    """Banner, table, filter, something about the row under the cursor, keys."""

    DEFAULT_CSS = """
    ListScreen {
        #filter { height: 1; border: none; padding: 0 1; background: $panel; display: none; }
        #filter.-active { display: block; }
    }
    """
    BINDINGS = [*bindings(Where.VIEW)]
    AUTO_FOCUS = "VirtualTable"

    def compose(self) -> ComposeResult:
        """From the top to the bottom."""
        yield Banner()
        yield self.make_table()
        yield Input(placeholder="words to find, !word to leave out, ~letters in this order, -l label=value", id="filter")
        yield self.make_about()
        yield Footer(show_command_palette=False)

    def make_table(self) -> Widget:
        """The table."""
        raise NotImplementedError

    def make_about(self) -> Widget:
        """What shows more of the row under the cursor."""
        raise NotImplementedError

    def current_name(self) -> str:
        """The name of the row under the cursor; empty when there is none."""
        raise NotImplementedError

    def clear_more(self) -> None:
        """What escape does when there is no filter."""
        self.dismiss()

    @property
    def _filter(self) -> Input:
        return self.query_one("#filter", Input)

    def _focus_table(self) -> None:
        self.query_one("VirtualTable").focus()

    def set_filter(self, text: str) -> None:
        """Filters, as if it had been typed."""
        self._filter.value = text
        self._filter.set_class(bool(text), "-active")
        self._focus_table()
        self.session.changed()

    def action_filter(self) -> None:
        """Opens the filter; it has the keys at once, however fast one types."""
        self._filter.add_class("-active")
        self.set_focus(self._filter)

    def action_clear(self) -> None:
        """Clears and closes the filter, unless there is something else to close."""
        if self.close_help():
            return
        if self._filter.has_class("-active"):
            self.set_filter("")
        else:
            self._focus_table()
            self.clear_more()

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        """At once: whoever types is not to wait for the pace at which changes are drawn."""
        self.show_changes()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.set_filter(self._filter.value.strip() and self._filter.value)

    def action_copy_name(self) -> None:
        """Copies the row's name; it is shown as well, since not every terminal lets itself be copied from."""
        name = self.current_name()
        if name:
            self.app.copy_to_clipboard(clean(name))
            tell(self, f"Copied {name}")

    def action_all_namespaces(self) -> None:
        """Shows all namespaces."""
        self._go_to(ALL)

    def action_choose_namespace(self) -> None:
        """Asks for a namespace and shows it."""
        self.work(self._choose_namespace, "ask")

    async def _choose_namespace(self) -> None:
        try:
            names: Iterable[str] = await self.session.source.namespaces()
        except ChrekError as error:
            # Who may not list namespaces can still choose among those that were seen.
            tell(self, error, severity="warning")
            seen = {row.namespace for row in self.session.checkpoints.items.values()}
            names = sorted(seen | {self.session.namespace} - {ALL})
        choices = (ALL, *names)
        chosen = await self.app.push_screen_wait(Choose("Namespace", choices, self.session.namespace, namespace_label))
        if chosen is not None:
            self._go_to(chosen)

    def _go_to(self, namespace: str) -> None:
        if namespace != self.session.namespace:
            self.session.choose_namespace(namespace)
