"""A table that draws only what is on the screen: ten thousand rows cost as much as fifty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import ClassVar, Generic, TypeVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.widgets.cells import GAP, Cell, Column, Tone, fit

RowT = TypeVar("RowT")

_GUTTER = 2
_MARK = "■ "
_HEADER_LINES = 1


class VirtualTable(ScrollView, Generic[RowT], can_focus=True, inherit_bindings=False):
    """Rows under a header that stays, with a cursor that follows its row through every change.

    Rows are known by `key_of(row)` and drawn by `cells_of(row)`, for the visible ones only.
    """

    DEFAULT_CSS = """
    VirtualTable {
        height: 1fr;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        background: $background;
        color: $foreground;
        & > .virtual-table--header { color: $text-primary; text-style: bold; background: $panel; }
        & > .virtual-table--cursor { color: $foreground; background: $surface-lighten-2; text-style: bold; }
        &:focus > .virtual-table--cursor {
            color: $block-cursor-foreground;
            background: $block-cursor-background;
            text-style: $block-cursor-text-style;
        }
        & > .virtual-table--mark { color: $text-accent; text-style: bold; }
        & > .virtual-table--muted { color: $foreground 60%; }
        & > .virtual-table--good { color: $text-success; }
        & > .virtual-table--busy { color: $text-primary; }
        & > .virtual-table--warning { color: $text-warning; }
        & > .virtual-table--bad { color: $text-error; }
        &:ansi > .virtual-table--cursor { text-style: bold reverse; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(Where.TABLE)]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "virtual-table--header",
        "virtual-table--cursor",
        "virtual-table--mark",
        *(f"virtual-table--{tone}" for tone in Tone if tone is not Tone.NORMAL),
    }
    ALLOW_SELECT = False

    cursor: reactive[int] = reactive(0, repaint=False)
    """The index of the row under the cursor; 0 also when there are no rows."""

    @dataclass
    class Moved(Message):
        """The cursor is on another row, or its row changed; None when there are no rows."""

        key: str | None

    @dataclass
    class Opened(Message):
        """A click on the row that has the cursor."""

        key: str

    @dataclass
    class HeaderClicked(Message):
        """A click on a column's title."""

        column: str

    def __init__(
        self,
        columns: Sequence[Column],
        key_of: Callable[[RowT], str],
        cells_of: Callable[[RowT], Sequence[Cell]],
        *,
        id: str | None = None,  # noqa: A002 - Textual's own word
    ) -> None:
        super().__init__(id=id)
        self.rows: Sequence[RowT] = ()
        self.marked: set[str] = set()
        """Keys of the rows with a mark before them."""
        self.arrows: Mapping[str, str] = {}
        """By column, what stands behind its title."""
        self.placeholder = ""
        """What is said when there are no rows."""
        self._columns = columns
        self._hidden: frozenset[str] = frozenset()
        self._key_of = key_of
        self._cells_of = cells_of
        self._wanted: list[int] = [0] * len(columns)
        self._key: str | None = None
        self._base: Style | None = None
        self._layout_: dict[int, int] = {}

    # -- what others say to it -------------------------------------------------------------------------------

    @property
    def current(self) -> RowT | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    def show_rows(
        self,
        rows: Sequence[RowT],
        *,
        wanted: Sequence[int],
        hidden: frozenset[str] = frozenset(),
        arrows: Mapping[str, str] | None = None,
        placeholder: str = "",
        place_of: Callable[[str], int | None] | None = None,
    ) -> None:
        """Replaces the rows; the cursor stays on its row, or where it was when that row is gone.

        Args:
            rows: All rows, in order.
            wanted: For each column, the width of its widest cell.
            hidden: Columns that are not shown, however much room there is.
            arrows: By column, what stands behind its title.
            placeholder: What is said when there are no rows.
            place_of: Finds a row by its key, faster than to look through all of them.
        """
        self.rows, self._hidden, self.placeholder = rows, hidden, placeholder
        self.arrows = arrows or {}
        self._wanted = [max(cell_len(column.title), width) for column, width in zip(self._columns, wanted, strict=True)]
        kept = (place_of or self._place_of)(self._key) if self._key else None
        self._arrange()
        self.set_reactive(VirtualTable.cursor, self.validate_cursor(self.cursor if kept is None else kept))
        self._follow_cursor()
        self._tell_where()
        self.refresh()

    def as_text(self) -> str:
        """All rows under their titles, in columns as wide as they need to be."""
        places = [index for index, column in enumerate(self._columns) if column.id not in self._hidden]
        cells = [[cell.text for cell in self._cells_of(row)] for row in self.rows]
        lines = [[column.title for column in self._columns], *cells]
        widths = {index: max(cell_len(line[index]) for line in lines) for index in places}
        padded = ((line[index] + " " * (widths[index] - cell_len(line[index])) for index in places) for line in lines)
        return "\n".join((" " * GAP).join(line).rstrip() for line in padded) if self.rows else self.placeholder

    # -- layout ----------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Lays the columns out anew, for other rows or another width."""
        self.virtual_size = Size(self.size.width, len(self.rows) + _HEADER_LINES)
        chosen = [index for index, column in enumerate(self._columns) if column.id not in self._hidden]
        # One cell stays free for the arrow behind the last title, and one for the scrollbar also while there is none: it comes and
        # goes after the rows do, and columns that depend on it would have been laid out before or after that.
        width = self.size.width - self.styles.scrollbar_size_vertical - _GUTTER - 1
        shared = fit([self._columns[index] for index in chosen], [self._wanted[index] for index in chosen], width)
        self._layout_ = {chosen[place]: taken for place, taken in shared.items()}

    def on_resize(self) -> None:
        """A new width shares out differently; a new height may hide the cursor."""
        self._arrange()
        self._follow_cursor()

    def _page(self) -> int:
        return max(self.scrollable_content_region.height - _HEADER_LINES, 1)

    def _follow_cursor(self) -> None:
        top, page = round(self.scroll_y), self._page()
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + page:
            self.scroll_to(y=self.cursor - page + 1, animate=False)

    # -- drawing ---------------------------------------------------------------------------------------------

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines of a part of the screen; what they have in common is found out once."""
        self._base = self.rich_style
        lines = super().render_lines(crop)
        self._base = None
        return lines

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the header, a row, a line of the placeholder, or nothing."""
        width, base = self.scrollable_content_region.width, self._base or self.rich_style
        if y == 0:
            return self._header_line(width, base)
        index = round(self.scroll_y) + y - _HEADER_LINES
        if index < len(self.rows):
            return self._row_line(index, width, base)
        if not self.rows and self.placeholder and y > 1:
            lines = [part for line in self.placeholder.split("\n") for part in wrap(line, max(width - 2 * _GUTTER, 10))]
            if y - 2 < len(lines):
                text = " " * _GUTTER + lines[y - 2]
                return _line([Segment(text, base + self._tone(Tone.MUTED))], width, base)
        return Strip.blank(width, base)

    def _header_line(self, width: int, base: Style) -> Strip:
        style = base + self.get_component_rich_style("virtual-table--header", partial=True)
        segments = [Segment(" " * _GUTTER, style)]
        for index, taken in self._layout_.items():
            column = self._columns[index]
            arrow = self.arrows.get(column.id, "")
            title = Cell(column.title).fitted(taken, right=column.right)
            # The arrow stands in the gap when the title fills its column.
            if arrow and title.endswith(" "):
                segments.append(Segment(title.rstrip() + arrow + " " * (taken - len(title.rstrip()) + GAP - 1), style))
            else:
                segments.append(Segment(title + (arrow or " ") + " " * (GAP - 1), style))
        return _line(segments, width, style)

    def _row_line(self, index: int, width: int, base: Style) -> Strip:
        row = self.rows[index]
        under_cursor = index == self.cursor
        if under_cursor:
            base += self.get_component_rich_style("virtual-table--cursor", partial=True)
        marked = self._key_of(row) in self.marked
        mark = base if under_cursor else base + self.get_component_rich_style("virtual-table--mark", partial=True)
        segments = [Segment(_MARK if marked else " " * _GUTTER, mark)]
        cells = self._cells_of(row)
        for place, taken in self._layout_.items():
            cell, column = cells[place], self._columns[place]
            style = base if under_cursor else base + self._tone(cell.tone)
            segments.append(Segment(cell.fitted(taken, right=column.right, keep_end=column.keep_end), style))
            segments.append(Segment(" " * GAP, base))
        return _line(segments, width, base)

    def _tone(self, tone: Tone) -> Style:
        if tone is Tone.NORMAL:
            return Style.null()
        return self.get_component_rich_style(f"virtual-table--{tone}")

    # -- the cursor ------------------------------------------------------------------------------------------

    def validate_cursor(self, cursor: int) -> int:
        """Keeps the cursor on a row."""
        return max(0, min(cursor, len(self.rows) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        """Brings the cursor's row into view."""
        self._follow_cursor()
        for index in (old, new):
            self.refresh_line(index + _HEADER_LINES)
        self._tell_where()

    def _tell_where(self) -> None:
        self._key = None if self.current is None else self._key_of(self.current)
        self.post_message(self.Moved(self._key))

    def _place_of(self, key: str) -> int | None:
        return next((index for index, row in enumerate(self.rows) if self._key_of(row) == key), None)

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor, a click on the cursor opens, a click on a title is for who sorts."""
        if event.y == 0:
            column = self._column_at(event.x)
            if column:
                self.post_message(self.HeaderClicked(column))
            return
        index = round(self.scroll_y) + event.y - _HEADER_LINES
        if index >= len(self.rows):
            return
        if index == self.cursor:
            self.post_message(self.Opened(self._key_of(self.rows[index])))
        self.cursor = index

    def _column_at(self, x: int) -> str | None:
        start = _GUTTER
        for index, taken in self._layout_.items():
            if start <= x < start + taken + GAP:
                return self._columns[index].id
            start += taken + GAP
        return None

    def action_move(self, by: int) -> None:
        """Moves the cursor by so many rows."""
        self.cursor += by

    def action_page(self, by: int) -> None:
        """Moves the cursor by so many screens."""
        self.cursor += by * self._page()

    def action_first(self) -> None:
        """Moves the cursor to the first row."""
        self.cursor = 0

    def action_last(self) -> None:
        """Moves the cursor to the last row."""
        self.cursor = len(self.rows) - 1


def _line(segments: list[Segment], width: int, style: Style) -> Strip:
    return Strip(segments).adjust_cell_length(width, style).crop(0, width)
