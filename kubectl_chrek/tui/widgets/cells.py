"""What a table is made of, and how its columns share the width there is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rich.cells import cell_len, set_cell_size

GAP: Final = 2
"""Blank cells between columns."""
_ELLIPSIS: Final = "…"


class Tone(StrEnum):
    """What a piece of text means; the theme decides how that looks."""

    NORMAL = "normal"
    MUTED = "muted"
    GOOD = "good"
    BUSY = "busy"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: cleaned text, and ever shorter ways to say it, tried before anything is cut off."""

    text: str
    tone: Tone = Tone.NORMAL
    shorter: tuple[str, ...] = ()

    def fitted(self, width: int, *, right: bool = False, keep_end: bool = False) -> str:
        """The text in exactly `width` terminal cells."""
        for text in (self.text, *self.shorter):
            room = width - cell_len(text)
            if room >= 0:
                return " " * room + text if right else text + " " * room
        text = (self.shorter or (self.text,))[-1]
        if width <= 1:
            return _ELLIPSIS[:width]
        if keep_end:
            return set_cell_size(_ELLIPSIS + _last(text, width - 1), width)
        return set_cell_size(set_cell_size(text, width - 1).rstrip() + _ELLIPSIS, width)


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `least` is its least width; of columns that do not fit, the one with the highest `rank` goes first."""

    id: str
    title: str
    least: int
    rank: int
    right: bool = False
    keep_end: bool = False
    """When a text is cut, its end is worth more than its beginning."""


def fit(columns: Sequence[Column], wanted: Sequence[int], width: int) -> dict[int, int]:
    """Shares `width` among columns: the index of each column that is shown, in order, with its width.

    Columns get their least widths in the order of their ranks, as long as there is room for all of a better rank; what is left
    goes, again by rank, to columns that want more. The first column is shown in any case.

    Args:
        columns: All columns.
        wanted: For each, the width that its widest text takes.
        width: The terminal cells there are.
    """
    by_rank = sorted(range(len(columns)), key=lambda index: columns[index].rank)
    shown: dict[int, int] = {}
    left = width
    for index in by_rank:
        cost = columns[index].least + (GAP if shown else 0)
        if shown and cost > left:
            break
        shown[index] = min(columns[index].least, width)
        left -= cost
    for index in by_rank:
        if left > 0 and index in shown:
            more = min(max(wanted[index] - shown[index], 0), left)
            shown[index] += more
            left -= more
    return dict(sorted(shown.items()))


def _last(text: str, width: int) -> str:
    """The end of `text` that takes at most `width` terminal cells."""
    start = len(text)
    taken = 0
    while start > 0 and taken + cell_len(text[start - 1]) <= width:
        start -= 1
        taken += cell_len(text[start])
    return text[start:]
