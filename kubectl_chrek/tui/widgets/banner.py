"""The two lines on top: where one is, and how the cluster's checkpoints are."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content

from kubectl_chrek.tui.plain import MUTED, Plain, span

_SEPARATOR = (" ▸ ", MUTED)


class Banner(Vertical):
    """Breadcrumbs and facts on the left, the cluster and the watch's state on the right."""

    DEFAULT_CSS = """
    Banner {
        dock: top;
        height: 2;
        background: $panel;
        padding: 0 1;
        Horizontal { height: 1; }
        Plain { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        .banner-left { width: 1fr; }
        .banner-right { width: auto; max-width: 60%; padding-left: 2; text-align: right; }
        #banner-place-right { max-width: 35%; }
        &:ansi { background: ansi_default; }
    }
    """

    def compose(self) -> ComposeResult:
        """Two lines of two halves."""
        for line in ("place", "facts"):
            with Horizontal():
                yield Plain(id=f"banner-{line}", classes="banner-left")
                yield Plain(id=f"banner-{line}-right", classes="banner-right")

    def show(self, *, crumbs: Sequence[str], facts: Content, server: str, state: Content) -> None:
        """Shows another place or state; `facts` and `state` are the second line's left and right."""
        path: list[tuple[str, str]] = [("kubectl chrek", "bold $text-primary")]
        for crumb in crumbs:
            path += [_SEPARATOR, span(crumb, "bold" if crumb is crumbs[-1] else "")]
        self._show("place", Content.assemble(*path))
        self._show("place-right", Content.assemble(span(server, MUTED)))
        self._show("facts", facts)
        self._show("facts-right", state)

    def _show(self, part: str, content: Content) -> None:
        self.query_one(f"#banner-{part}", Plain).show(content)
