"""The first screen: all checkpoints, live."""

from functools import partial
from typing import Final

from textual import on
from textual.app import ComposeResult
from textual.widgets import Footer, Input

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.plain import Plain, clean, tell
from kubectl_chrek.tui.screens.deleting import confirm_and_delete
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.screens.modals import ChooseNamespace
from kubectl_chrek.tui.session import ALL, Session, namespace_label
from kubectl_chrek.tui.views.matching import compile_filter
from kubectl_chrek.tui.views.overview import progress_text
from kubectl_chrek.tui.views.rows import COLUMNS, LARGEST_FIRST, SORTS, Row, cells_at, sort_rows
from kubectl_chrek.tui.views.status import facts, state
from kubectl_chrek.tui.widgets.banner import Banner
from kubectl_chrek.tui.widgets.table import VirtualTable

_AGE_WIDTH: Final = 6
_UP, _DOWN = "↑", "↓"


class CheckpointsScreen(LiveScreen):
    """A table of checkpoints with a filter, a sort order and marks."""

    DEFAULT_CSS = """
    CheckpointsScreen {
        #filter { height: 1; border: none; padding: 0 1; background: $panel; display: none; }
        #filter.-active { display: block; }
        #message { height: 1; padding: 0 1; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """
    WHERE = Where.LIST
    BINDINGS = [*bindings(WHERE)]
    AUTO_FOCUS = "VirtualTable"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._sort = "name"
        self._descending = False
        self._marked: set[str] = set()

    def compose(self) -> ComposeResult:
        """Banner, table, filter, the current row's message, keys."""
        yield Banner()
        yield VirtualTable[Row](COLUMNS, lambda row: row.key, lambda row: cells_at(row, self.session.now()))
        yield Input(placeholder="words to find, !word to leave out, ~letters in this order", id="filter")
        yield Plain(id="message")
        yield Footer(show_command_palette=False)

    @property
    def _table(self) -> VirtualTable[Row]:
        return self.query_one(VirtualTable)

    @property
    def _filter(self) -> Input:
        return self.query_one("#filter", Input)

    # -- drawing ---------------------------------------------------------------------------------------------

    def show_changes(self) -> None:
        """Filters and sorts the session's rows and gives them to the table."""
        feed = self.session.checkpoints
        matches = compile_filter(self._filter.value)
        rows = [row for row in feed.items.values() if matches is None or matches(row.haystack)]
        self._marked &= feed.items.keys()
        self._table.marked = self._marked
        self._table.show_rows(
            sort_rows(rows, self._sort, descending=self._descending),
            wanted=_widths(rows),
            hidden=frozenset() if self.session.namespace == ALL else frozenset({"namespace"}),
            arrows={self._sort: _DOWN if self._descending else _UP},
            placeholder=self._placeholder(),
        )
        self._show_banner()

    def show_time(self) -> None:
        """Ages, and how long an outage lasts."""
        self._table.refresh()
        self._show_banner()

    def _show_banner(self) -> None:
        feed, table = self.session.checkpoints, self._table
        self.query_one(Banner).show(
            crumbs=["checkpoints"],
            facts=facts(
                feed.items.values(),
                namespace=namespace_label(self.session.namespace),
                shown=len(table.rows),
                total=len(feed.items),
                filtered=bool(self._filter.value.strip()),
                marked=len(self._marked),
            ),
            server=self.session.source.server,
            state=state(synced=feed.synced, outage=feed.outage, read_only=self.session.read_only, now=self.session.now()),
        )

    def _placeholder(self) -> str:
        feed = self.session.checkpoints
        if feed.items:
            return "Nothing matches the filter; esc clears it."
        if feed.outage and not feed.synced:
            return feed.outage.reason
        if not feed.synced:
            return "Loading ..."
        where = f" in {namespace_label(self.session.namespace)}"
        return f"No checkpoints{where}.\nMake one with: kubectl chrek prewarm"

    @on(VirtualTable.Moved)
    def _show_message(self) -> None:
        row = self._table.current
        feed = self.session.checkpoints
        if feed.outage and feed.synced:
            text = feed.outage.reason
        elif row is None:
            text = ""
        else:
            status = row.checkpoint.status
            text = (progress_text(row) if status.artifact is None else "") or status.failure or status.message
        self.query_one("#message", Plain).show(text.replace("\n", " "))

    # -- filter ----------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Opens the filter."""
        self._filter.add_class("-active")
        self._filter.focus()

    def action_clear(self) -> None:
        """Clears and closes the filter; when there is none, the marks."""
        if self._filter.has_class("-active"):
            self._filter.value = ""
            self._filter.remove_class("-active")
        else:
            self._marked.clear()
        self._table.focus()
        self.session.changed()

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self.session.changed()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        if self._filter.value.strip():
            self._table.focus()
        else:
            self.action_clear()

    # -- order and marks -------------------------------------------------------------------------------------

    def action_sort(self, column: str) -> None:
        """Sorts by a column; by the same once more, the other way round."""
        self._descending = not self._descending if column == self._sort else column in LARGEST_FIRST
        self._sort = column
        self.session.changed()

    @on(VirtualTable.HeaderClicked)
    def _header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        if event.column in SORTS:
            self.action_sort(event.column)

    def action_mark(self) -> None:
        """Marks the row, or takes its mark away, and goes on to the next."""
        row = self._table.current
        if row is not None:
            self._marked ^= {row.key}
            self._table.action_move(1)
            self._table.refresh()
            self._show_banner()

    # -- going elsewhere -------------------------------------------------------------------------------------

    @on(VirtualTable.Opened)
    def action_open_row(self) -> None:
        """Opens the row's detail."""
        self.action_open_tab("overview")

    def action_open_tab(self, tab: str) -> None:
        """Opens the row's detail at a tab."""
        row = self._table.current
        if row is not None:
            self.app.push_screen(DetailScreen(self.session, row, tab))

    def action_all_namespaces(self) -> None:
        """Shows all namespaces."""
        self._go_to(ALL)

    def action_choose_namespace(self) -> None:
        """Asks for a namespace and shows it."""
        self.work(self._choose_namespace, "ask")

    async def _choose_namespace(self) -> None:
        try:
            names = await self.session.source.namespaces()
        except ChrekError as error:
            # Who may not list namespaces can still choose among those that were seen.
            tell(self, error, severity="warning")
            names = sorted({row.namespace for row in self.session.checkpoints.items.values()} | {self.session.namespace} - {ALL})
        chosen = await self.app.push_screen_wait(ChooseNamespace(names, self.session.namespace))
        if chosen is not None:
            self._go_to(chosen)

    def _go_to(self, namespace: str) -> None:
        if namespace != self.session.namespace:
            self._marked.clear()
            self.session.choose_namespace(namespace)

    # -- doing things ----------------------------------------------------------------------------------------

    def action_copy_name(self) -> None:
        """Copies the row's name; it is shown as well, since not every terminal lets itself be copied from."""
        row = self._table.current
        if row is not None:
            self.app.copy_to_clipboard(clean(row.name))
            tell(self, f"Copied {row.name}")

    def action_delete(self) -> None:
        """Deletes the marked rows, those that a filter hides among them, or else the current one, after asking by name."""
        marked = [row for row in self.session.checkpoints.items.values() if row.key in self._marked]
        rows = sort_rows(marked, "name", descending=False)
        current = self._table.current
        if not rows and current is not None:
            rows = [current]
        if rows:
            self.work(partial(self._delete, rows), "ask")

    async def _delete(self, rows: list[Row]) -> None:
        if await confirm_and_delete(self, self.session, rows):
            self._marked.clear()
            self.session.changed()


def _widths(rows: list[Row]) -> list[int]:
    """The widest text of each column."""
    columns = zip(*([len(cell.text) for cell in row.cells] for row in rows), strict=True)
    return [*(map(max, columns) if rows else [0] * (len(COLUMNS) - 1)), _AGE_WIDTH]
