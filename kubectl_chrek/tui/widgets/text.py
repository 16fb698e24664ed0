"""Panes of text that scroll under vi's keys."""

from collections.abc import Callable
from typing import Final

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Log

from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.plain import Plain, clean, clean_lines

_MOST_LINES: Final = 20_000


class Fitted(Plain):
    """Text that is made for a width, and made again when the width changes."""

    _view: Callable[[int], Content] | None = None

    def draw(self, view: Callable[[int], Content]) -> None:
        """Shows what `view` makes of the width there is; before the first layout there is none."""
        self._view = view
        self.on_resize()

    def on_resize(self) -> None:
        """Another width."""
        width = self.content_size.width
        if self._view is not None and width > 0:
            self.show(self._view(width))


class Pane(VerticalScroll, can_focus=True, inherit_bindings=False):
    """A tab's scrolling content. There is always room for the scrollbar: a text's width does not depend on its height."""

    DEFAULT_CSS = """
    Pane { padding: 0 1; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    """
    BINDINGS = [*bindings(Where.TEXT)]


class LogPane(Log, inherit_bindings=False):
    """A log that grows. Its end stays in view unless one has scrolled away from it."""

    DEFAULT_CSS = """
    LogPane { padding: 0 1; scrollbar-size: 1 1; background: $background; }
    """
    BINDINGS = [*bindings(Where.TEXT), *bindings(Where.LOG)]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own word
        super().__init__(highlight=False, max_lines=_MOST_LINES, id=id)
        self._empty = True

    def say(self, text: str) -> None:
        """Shows a message instead of a log."""
        self.clear()
        self.write(clean_lines(text))
        self._empty = True

    def break_off(self, reason: str) -> None:
        """Says why there is no more; what has been shown stays until it begins anew."""
        if self._empty:
            self.say(reason)
        else:
            self.write_line(clean(reason))
            self._empty = True

    def action_pan(self, halves: int) -> None:
        """Moves sideways over long lines, by half of what is in view."""
        self.scroll_relative(x=halves * (self.size.width // 2), animate=False)

    def as_text(self) -> str:
        """All lines that are still kept."""
        return "\n".join(self.lines)

    def add(self, line: str) -> None:
        """Shows one line more."""
        if self._empty:
            self.clear()
            self._empty = False
        self.write_line(clean(clean_lines(line)))
