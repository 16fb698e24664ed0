"""Two checkpoints side by side, live: the screen behind `diff`."""

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Footer

from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.plain import span, tell
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.session import Session
from kubectl_chrek.tui.views.diff import diff_view
from kubectl_chrek.tui.views.rows import Row
from kubectl_chrek.tui.widgets.banner import Banner
from kubectl_chrek.tui.widgets.text import Fitted, Pane


class DiffScreen(LiveScreen):
    """What differs between two checkpoints. Goes back by itself when one of them is deleted."""

    DEFAULT_CSS = """
    DiffScreen Pane { height: 1fr; padding: 1 1; }
    """
    WHERES = (Where.DIFF,)
    BINDINGS = [*bindings(Where.DIFF)]
    AUTO_FOCUS = "Pane"

    def __init__(self, session: Session, left: Row, right: Row) -> None:
        super().__init__(session)
        self._rows = (left, right)

    def crumbs(self) -> list[str]:
        """Its name."""
        return ["diff"]

    def compose(self) -> ComposeResult:
        """Banner, columns, keys."""
        yield Banner()
        yield Pane(Fitted(id="diff-text"))
        yield Footer(show_command_palette=False)

    def show_changes(self) -> None:
        """Draws both as they are now."""
        feed = self.session.checkpoints
        gone = [row for row in self._rows if feed.synced and row.key not in feed.items]
        if gone:
            tell(self, f"{gone[0].name} was deleted", severity="warning")
            self.dismiss()
            return
        left, right = (feed.items.get(row.key, row) for row in self._rows)
        self._rows = (left, right)
        self.query_one("#diff-text", Fitted).draw(lambda width: diff_view(left.checkpoint, right.checkpoint, width))
        self.show_time()

    def show_time(self) -> None:
        """How long an outage lasts."""
        feed = self.session.checkpoints
        facts = Content.assemble(span(" and ".join(row.name for row in self._rows), "$text-accent"))
        self.show_banner(facts, synced=feed.synced, outage=feed.outage)

    def action_swap(self) -> None:
        """The right one to the left."""
        left, right = self._rows
        self._rows = (right, left)
        self.show_changes()

    def action_back(self) -> None:
        """To the list."""
        if not self.close_help():
            self.dismiss()
