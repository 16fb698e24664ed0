"""Panes of text that scroll under vi's keys."""

from collections.abc import Callable

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Log

from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.plain import Plain, clean_lines


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
    """A tab's scrolling content."""

    DEFAULT_CSS = """
    Pane { padding: 0 1; scrollbar-size-vertical: 1; }
    """
    BINDINGS = [*bindings(Where.TEXT)]


class LogPane(Log, inherit_bindings=False):
    """A log that grows. Its end stays in view unless one has scrolled away from it."""

    DEFAULT_CSS = """
    LogPane { padding: 0 1; scrollbar-size: 1 1; background: $background; }
    """
    BINDINGS = [*bindings(Where.TEXT)]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own word
        super().__init__(highlight=False, id=id)
        self._text = ""

    def show(self, text: str) -> None:
        """Shows `text`; of a text that continues the former one only the new part is written."""
        if text == self._text:
            return
        if self._text and text.startswith(self._text):
            self.write(clean_lines(text[len(self._text) :]))
        else:
            self.clear()
            self.write(clean_lines(text))
        self._text = text
