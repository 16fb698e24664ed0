"""Text of unknown origin, made safe to draw.

Names, messages and logs come from other people's programs. Markup in them must stay text, and a control character in them
must not reach the terminal; whatever is drawn goes through this module.
"""

import re
from typing import Final

from textual.content import Content
from textual.dom import DOMNode
from textual.notifications import SeverityLevel
from textual.widgets import Static

MUTED: Final = "$foreground 60%"
"""The style of what matters less. Not `$text-muted`: that is black or white where the background is not known."""
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
# Controls, marks that turn the direction of writing, and surrogates, which no terminal's encoding can take.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def clean(text: object) -> str:
    """`text` as one line without control characters."""
    text = str(text)
    if text.isprintable():
        return text
    return _UNSAFE.sub(REPLACEMENT, " ".join(text.split("\n")).replace("\t", " ").replace("\r", " "))


def clean_lines(text: str) -> str:
    """`text` with its line breaks, without a terminal's escape sequences and other control characters."""
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").expandtabs(8)
    return _UNSAFE.sub(REPLACEMENT, lines)


def span(text: object, style: str = "") -> tuple[str, str]:
    """A cleaned piece of text in a theme's style, for `Content.assemble`."""
    return clean(text), style


def hang(head: Content, body: Content, width: int) -> Content:
    """`body` beside `head`: wrapped to lines of `width` cells in all, which go on under the body's first."""
    indent = head.cell_length
    first, *rest = body.wrap(max(width - indent, 1))
    return Content("\n").join([head + first, *(line.pad_left(indent) for line in rest)])


def tell(node: DOMNode, message: object, *, severity: SeverityLevel = "information") -> None:
    """A passing note to the user; the only caller of Textual's `notify`, which would read markup in the message."""
    node.app.notify(clean(message), severity=severity, markup=False)


class Plain(Static):
    """A `Static` that takes text for text: square brackets in it are square brackets."""

    def __init__(self, text: str = "", *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        self._shown = Content(clean_lines(text))
        super().__init__(self._shown, id=id, classes=classes, markup=False)

    def show(self, content: Content | str) -> None:
        """Replaces what is shown; Content is drawn as it is, made of cleaned pieces by its maker.

        The same again is no change: a selection made with the mouse survives the clock's ticks.
        """
        content = Content(clean_lines(content)) if isinstance(content, str) else content
        if not content.is_same(self._shown):
            self._shown = content
            # The screen is laid out anew only for a text whose own size matters.
            self.update(content, layout=self.styles.auto_dimensions)

    def as_text(self) -> str:
        """What is shown, without its styles."""
        return self._shown.plain
