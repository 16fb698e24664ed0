"""The nodes and what their agents say, live."""

from collections.abc import AsyncGenerator, Callable, Coroutine

from kubectl_chrek.api.node import ChrekNode, read_node
from kubectl_chrek.cluster import Event
from kubectl_chrek.tui.actions import Where
from kubectl_chrek.tui.feed import Feed, Outage
from kubectl_chrek.tui.screens.entries import EntryScreen
from kubectl_chrek.tui.views.entries import Entry
from kubectl_chrek.tui.views.nodes import NODE_COLUMNS, node_entries


class NodesScreen(EntryScreen):
    """A table of nodes above what is under way on the current one."""

    WHERES = (Where.VIEW,)
    COLUMNS = NODE_COLUMNS
    CRUMB = "nodes"
    EMPTY = "No agent has told of its node: there is none, or the kind ChrekNode is not installed.\n:doctor says more."
    NAMESPACED = False
    _agents: Feed[ChrekNode]

    def read_anew(self) -> None:
        """One watch."""
        self._agents = self.session.feed(self._watch, read_node)

    def _watch(self) -> AsyncGenerator[Event, None]:
        return self.session.source.watch_nodes()

    def readers(self) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """One watch."""
        return {"nodes": self._agents.run}

    def health(self) -> tuple[bool, Outage | None]:
        """The watch's."""
        return self._agents.synced, self._agents.outage

    def entries(self) -> list[Entry]:
        """One for each node."""
        return node_entries(self._agents.items.values(), self.session.now())
