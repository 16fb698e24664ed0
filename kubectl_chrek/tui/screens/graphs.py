"""Graphs and workloads down to their pods, live: which were restored, which started cold, and why."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from textual import on

from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.feed import Feed, Outage
from kubectl_chrek.tui.plain import tell
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.entries import EntryScreen
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.graphs import GRAPH_COLUMNS, Worker, graph_entries, read_worker
from kubectl_chrek.tui.views.rows import Row
from kubectl_chrek.tui.widgets.table import VirtualTable


class GraphsScreen(EntryScreen):
    """The tree of graphs, services and pods as a table."""

    WHERES = (Where.VIEW, Where.GRAPHS)
    BINDINGS = [*bindings(Where.GRAPHS)]
    COLUMNS = GRAPH_COLUMNS
    CRUMB = "graphs"
    EMPTY = "No graph, and no pod that asks for a checkpoint."
    _graphs: Feed[Mapping[str, Any]]
    _workers: Feed[Worker]

    def read_anew(self) -> None:
        """Two watches."""
        session = self.session
        self._graphs = session.feed(lambda: session.source.watch_graphs(session.namespace), lambda body: body)
        self._workers = session.feed(lambda: session.source.watch_workers(session.namespace), read_worker)

    def readers(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """Two watches."""
        return {"graphs": self._graphs.run, "workers": self._workers.run}

    def health(self) -> tuple[bool, Outage | None]:
        """Both must do."""
        return self._graphs.synced and self._workers.synced, self._graphs.outage or self._workers.outage

    def entries(self) -> list[Entry]:
        """The tree."""
        return graph_entries(self._graphs.items.values(), self._workers.items.values(), self.session.now())

    @on(VirtualTable.Opened)
    def action_open_row(self) -> None:
        """Opens the checkpoint that the row asks for or started from, by its name or its hash."""
        entry = self.current
        if entry is None or not entry.checkpoint:
            return
        row = self._checkpoint(entry)
        if row is None:
            tell(self, f"there is no checkpoint {entry.checkpoint} in {entry.namespace}", severity="warning")
        else:
            self.app.push_screen(DetailScreen(self.session, row))

    def _checkpoint(self, entry: Entry) -> Row | None:
        near = [row for row in self.session.checkpoints.items.values() if row.namespace == entry.namespace]
        by_name = [row for row in near if row.name == entry.checkpoint]
        return next(iter(by_name or [row for row in near if row.identity and row.identity.hash == entry.checkpoint]), None)
