"""A screen whose rows are few enough to be made anew whenever something changes: all but the checkpoints."""

from collections.abc import Callable, Coroutine, Sequence
from typing import ClassVar

from textual import on
from textual.content import Content
from textual.widget import Widget

from kubectl_chrek.tui.feed import Feed, Outage, Poll
from kubectl_chrek.tui.plain import MUTED, span
from kubectl_chrek.tui.screens.listing import ListScreen
from kubectl_chrek.tui.session import Session, namespace_label
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.matching import compile_filter
from kubectl_chrek.tui.widgets.cells import Column
from kubectl_chrek.tui.widgets.table import VirtualTable
from kubectl_chrek.tui.widgets.text import Fitted, Pane

Reader = Feed[object] | Poll[object]


class EntryScreen(ListScreen):
    """A table of entries above a pane that tells more of the one under the cursor."""

    DEFAULT_CSS = """
    EntryScreen { #about { height: auto; max-height: 40%; border-top: solid $panel; } }
    """
    COLUMNS: ClassVar[Sequence[Column]]
    CRUMB: ClassVar[str]
    EMPTY: ClassVar[str]
    """What is said when there is nothing to show."""
    NAMESPACED: ClassVar[bool] = True

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._epoch = session.epoch

    def make_table(self) -> Widget:
        """Entries bring their cells along."""
        return VirtualTable[Entry](self.COLUMNS, lambda entry: entry.key, lambda entry: entry.cells)

    def make_about(self) -> Widget:
        """It scrolls."""
        return Pane(Fitted(id="about-text"), id="about")

    # -- what each screen says of itself ---------------------------------------------------------------------

    def read_anew(self) -> None:
        """Makes its readers; what former ones read is forgotten."""
        raise NotImplementedError

    def readers(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """What runs as long as the screen is there, by the name of its group."""
        raise NotImplementedError

    def health(self) -> tuple[bool, Outage | None]:
        """Whether something has been read, and what is wrong."""
        raise NotImplementedError

    def entries(self) -> list[Entry]:
        """The rows, in order."""
        raise NotImplementedError

    def facts(self) -> list[tuple[str, str]]:
        """Pieces for the banner."""
        return []

    # -- what they share -------------------------------------------------------------------------------------

    def crumbs(self) -> list[str]:
        """Its name."""
        return [self.CRUMB]

    def on_mount(self) -> None:
        """Begins."""
        self.read_anew()
        self.begin()

    def begin(self) -> None:
        """Reads; what is of another cluster or namespace is forgotten first."""
        if self._epoch != self.session.epoch:
            self._epoch = self.session.epoch
            self.read_anew()
        for group, run in self.readers().items():
            self.work(run, group)
        if self.is_current:
            self.show_changes()

    @property
    def table(self) -> VirtualTable[Entry]:
        """The table."""
        return self.query_one(VirtualTable)

    @property
    def current(self) -> Entry | None:
        """The entry under the cursor."""
        return self.table.current

    def current_name(self) -> str:
        """Of the entry under the cursor."""
        return self.current.name if self.current else ""

    def show_changes(self) -> None:
        """Makes the rows anew."""
        found = self.entries()
        matches = compile_filter(self._filter.value)
        rows = [entry for entry in found if matches is None or matches(entry.haystack, entry.labels)]
        synced, outage = self.health()
        columns = zip(*([len(cell.text) for cell in entry.cells] for entry in rows), strict=True)
        self.table.show_rows(
            rows,
            wanted=[*map(max, columns)] if rows else [0] * len(self.COLUMNS),
            hidden=frozenset({"namespace"}) if self.session.namespace else frozenset(),
            placeholder=self._placeholder(filtered=bool(found), synced=synced, outage=outage),
        )
        self._show_about()
        where = [span(namespace_label(self.session.namespace), "$text-accent")] if self.NAMESPACED else []
        if self._filter.value.strip():
            where.append(span(f"  filter {len(rows)}/{len(found)}", "bold $text-warning"))
        self.show_banner(Content.assemble(*where, *self.facts()), synced=synced, outage=outage)

    def show_time(self) -> None:
        """Ages and speeds are in the rows."""
        self.show_changes()

    def _placeholder(self, *, filtered: bool, synced: bool, outage: Outage | None) -> str:
        if filtered:
            return "Nothing matches the filter; esc clears it."
        if outage is not None:
            return outage.reason
        return self.EMPTY if synced else "Loading ..."

    @on(VirtualTable.Moved)
    def _show_about(self) -> None:
        entry, (synced, outage) = self.current, self.health()
        nothing = Content("")
        stale = Content.assemble(span(outage.reason if outage and synced else "", MUTED))
        about = entry.about if entry else None

        def view(width: int) -> Content:
            shown = about(width) if about else nothing
            return Content("\n").join([stale, shown]) if stale.plain else shown

        self.query_one("#about-text", Fitted).draw(view)
