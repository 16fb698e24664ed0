"""The first screen: all checkpoints, live."""

from collections.abc import Callable, Coroutine
from functools import partial

from textual import on
from textual.widget import Widget

from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.plain import Plain, tell
from kubectl_chrek.tui.screens.listing import ListScreen
from kubectl_chrek.tui.session import ALL, Session, namespace_label
from kubectl_chrek.tui.views.matching import compile_filter
from kubectl_chrek.tui.views.ordering import LARGEST_FIRST, SORTS, Listing, Order, sort_rows
from kubectl_chrek.tui.views.rows import COLUMNS, NOTES, Row, cells_at
from kubectl_chrek.tui.views.status import counts, facts
from kubectl_chrek.tui.widgets.cells import Tone
from kubectl_chrek.tui.widgets.table import VirtualTable

_UP, _DOWN = "↑", "↓"


class CheckpointsScreen(ListScreen):
    """A table of checkpoints with a filter, a sort order and marks. Other screens are loaded when they are gone to."""

    DEFAULT_CSS = """
    CheckpointsScreen #message {
        height: 1; padding: 0 1; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis;
    }
    """
    WHERES = (Where.VIEW, Where.LIST)
    BINDINGS = [*bindings(Where.LIST)]

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._sort = "name"
        self._descending = False
        self._marked: set[str] = set()
        self._last_marked = ""
        self._listing = Listing((), Order(self._sort, self._descending))
        self._listed: object = None
        """What the listing is of."""
        self._narrowed = ""
        """The filter that it shows."""

    def make_table(self) -> Widget:
        """Rows have their cells but for AGE."""
        return VirtualTable[Row](COLUMNS, lambda row: row.key, lambda row: cells_at(row, self.session.now()))

    def make_about(self) -> Widget:
        """The row's message."""
        return Plain(id="message")

    def crumbs(self) -> list[str]:
        """The first of all."""
        return ["checkpoints"]

    @property
    def _table(self) -> VirtualTable[Row]:
        return self.query_one(VirtualTable)

    def current_name(self) -> str:
        """Of the checkpoint under the cursor."""
        return self._table.current.name if self._table.current else ""

    def begin(self) -> None:
        """Marks of another cluster or namespace are none here."""
        self._marked &= self.session.checkpoints.items.keys()

    # -- drawing ---------------------------------------------------------------------------------------------

    def show_changes(self) -> None:
        """Filters and sorts the session's rows and gives them to the table."""
        feed = self.session.checkpoints
        self._bring_up_to_date()
        self._marked &= feed.items.keys()
        self._table.marked = self._marked
        self._table.show_rows(
            self._listing.shown,
            wanted=self._listing.widths(),
            hidden=frozenset() if self.session.namespace == ALL else frozenset({"namespace"}),
            arrows={self._sort: _DOWN if self._descending else _UP},
            placeholder=self._placeholder(),
            place_of=self._listing.place,
        )
        self._show_facts()

    def _bring_up_to_date(self) -> None:
        """Only what changed is put in its place anew, unless the list or its order are others."""
        feed, text = self.session.checkpoints, self._filter.value
        listed = (self.session.epoch, feed.lists, self._sort, self._descending)
        if self._listed != listed:
            self._listing = Listing(feed.items.values(), Order(self._sort, self._descending))
            self._listed, self._narrowed = listed, ""
        else:
            for key in feed.touched:
                self._listing.change(key, feed.items.get(key))
        feed.touched.clear()
        if self._narrowed != text:
            self._listing.narrow(compile_filter(text))
            self._narrowed = text

    def show_time(self) -> None:
        """Ages, and how long an outage lasts."""
        self._table.refresh()
        self._show_facts()

    def _show_facts(self) -> None:
        feed, table = self.session.checkpoints, self._table
        counted = facts(
            counts(self._listing.phases),
            namespace=namespace_label(self.session.namespace),
            shown=len(table.rows),
            total=len(feed.items),
            filtered=bool(self._filter.value.strip()),
            marked=len(self._marked),
        )
        self.show_banner(counted, synced=feed.synced, outage=feed.outage)

    def _placeholder(self) -> str:
        feed = self.session.checkpoints
        if feed.items:
            return "Nothing matches the filter; esc clears it."
        if feed.outage and not feed.synced:
            return feed.outage.reason
        if not feed.synced:
            return "Loading ..."
        return f"No checkpoints in {namespace_label(self.session.namespace)}.\nPress w to make one."

    @on(VirtualTable.Moved)
    def _show_message(self) -> None:
        row = self._table.current
        feed = self.session.checkpoints
        if feed.outage and feed.synced:
            text = feed.outage.reason
        elif row is None:
            text = ""
        else:
            told = (_progress_text(row) if row.capturing else "") or row.message
            note = row.cells[NOTES]
            # In a narrow terminal there is no room for the column.
            text = f"{note.text}  {told}" if note.tone is Tone.WARNING else told
        self.query_one("#message", Plain).show(text.replace("\n", " "))

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
            self._last_marked = row.key
            self._table.action_move(1)
            self._show_marks()

    def action_mark_range(self) -> None:
        """Marks all rows from the last one marked to this one."""
        keys = [row.key for row in self._table.rows]
        if keys:
            start = keys.index(self._last_marked) if self._last_marked in keys else self._table.cursor
            first, last = sorted((start, self._table.cursor))
            self._marked |= set(keys[first : last + 1])
            self._last_marked = keys[self._table.cursor]
            self._show_marks()

    def action_unmark(self) -> None:
        """Takes all marks away."""
        self._marked.clear()
        self._show_marks()

    def clear_more(self) -> None:
        """Escape takes the marks away; there is no screen to go back to."""
        self.action_unmark()

    def _show_marks(self) -> None:
        self._table.refresh()
        self._show_facts()

    # -- going elsewhere -------------------------------------------------------------------------------------

    @on(VirtualTable.Opened)
    def action_open_row(self) -> None:
        """Opens the row's detail."""
        self.action_open_tab("overview")

    def action_open_tab(self, tab: str) -> None:
        """Opens the row's detail at a tab."""
        row = self._table.current
        if row is not None:
            from kubectl_chrek.tui.screens.detail import DetailScreen

            self.app.push_screen(DetailScreen(self.session, row, tab))

    def action_diff(self) -> None:
        """Compares the two marked rows, or the one marked row with the current one."""
        from kubectl_chrek.tui.screens.diff import DiffScreen

        rows, current = self._marked_rows(), self._table.current
        if len(rows) == 1 and current is not None and current.key != rows[0].key:
            rows = [*rows, current]
        if len(rows) == 2:
            self.app.push_screen(DiffScreen(self.session, *rows))
        else:
            tell(self, "mark two checkpoints with space, then press x to compare them", severity="warning")

    # -- doing things ----------------------------------------------------------------------------------------

    async def action_delete(self) -> None:
        """Deletes the chosen rows, after asking by name."""
        from kubectl_chrek.tui.screens import changing

        rows = self._chosen()
        if rows:
            await changing.ask_and_delete(self, rows, self.action_unmark)

    def action_undelete(self) -> None:
        """Keeps what was marked for deletion."""
        from kubectl_chrek.tui.screens import changing

        self._do(partial(changing.undelete, self, self.session))

    def action_pin(self) -> None:
        """Pins, or unpins when all are pinned."""
        from kubectl_chrek.tui.screens import changing

        self._do(partial(changing.pin, self, self.session))

    def action_verify(self) -> None:
        """Has the artifacts read back."""
        from kubectl_chrek.tui.screens import changing

        self._do(partial(changing.verify, self, self.session))

    def action_prewarm(self) -> None:
        """Opens the form, filled in with the row's identity."""
        from kubectl_chrek.tui.screens.prewarm import PrewarmScreen

        row = self._table.current
        self.app.push_screen(PrewarmScreen(self.session, row.identity if row else None))

    def _do(self, act: Callable[[list[Row]], Coroutine[None, None, None]]) -> None:
        rows = self._chosen()
        if rows:
            self.work(partial(act, rows), "ask")

    def _chosen(self) -> list[Row]:
        """The marked rows, or else the current one."""
        current = self._table.current
        return self._marked_rows() or ([current] if current is not None else [])

    def _marked_rows(self) -> list[Row]:
        """The marked rows by name, those that a filter hides among them."""
        marked = [row for row in self.session.checkpoints.items.values() if row.key in self._marked]
        return sort_rows(marked, "name", descending=False)


def _progress_text(row: Row) -> str:
    from kubectl_chrek.tui.views.overview import progress_text

    return progress_text(row)
