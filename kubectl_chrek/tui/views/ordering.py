"""The list's rows in their order, kept while they change: a change costs the same among ten rows and ten thousand."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubectl_chrek.tui.views.matching import Match
from kubectl_chrek.tui.views.phases import ORDER
from kubectl_chrek.tui.views.rows import COLUMNS, Row

_AGE_WIDTH: Final = 6


def _by_age(row: Row) -> float | None:
    return None if row.created is None else -row.created.timestamp()


def _by_phase(row: Row) -> int:
    return ORDER.index(row.phase) if row.phase in ORDER else len(ORDER)


SORTS: Final[dict[str, Callable[[Row], Any]]] = {
    "name": lambda row: row.name,
    "age": _by_age,
    "size": lambda row: row.size,
    "phase": _by_phase,
}
"""By column, the value that rows are sorted by; None means that a row has none and goes last."""
LARGEST_FIRST: Final = frozenset({"size"})
"""Columns whose first sort is the descending one."""


def sort_rows(rows: Iterable[Row], column: str, *, descending: bool) -> list[Row]:
    """Rows in the order of a column's values; equal ones by namespace, name and UID, those without a value last."""
    value = SORTS[column]
    pairs = [(value(row), row) for row in sorted(rows, key=_tie)]
    known = [pair for pair in pairs if pair[0] is not None]
    known.sort(key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in known] + [row for found, row in pairs if found is None]


def _tie(row: Row) -> tuple[str, str, str]:
    return row.namespace, row.name, row.key


@dataclass(frozen=True, slots=True)
class Order:
    """The order that `sort_rows` makes, as a comparison."""

    column: str
    descending: bool

    def precedes(self, one: Row, other: Row) -> bool:
        """`one` comes before `other`."""
        value = SORTS[self.column]
        mine, theirs = value(one), value(other)
        if mine == theirs:
            return _tie(one) < _tie(other)
        if mine is None or theirs is None:
            return theirs is None
        before: bool = mine < theirs
        return before is not self.descending

    def place(self, rows: Sequence[Row], row: Row) -> int:
        """Where the row is among `rows`, or would be."""
        low, high = 0, len(rows)
        while low < high:
            middle = (low + high) // 2
            if self.precedes(rows[middle], row):
                low = middle + 1
            else:
                high = middle
        return low


class Listing:
    """All rows in an order, those that a filter lets through in the same, and what is counted of them.

    Args:
        rows: The rows to begin with.
        order: Their order.
    """

    def __init__(self, rows: Iterable[Row], order: Order) -> None:
        self.phases: Counter[str] = Counter()
        """How many rows are in each phase."""
        self.shown: list[Row]
        """Those that the filter lets through."""
        self._order = order
        self._rows = {row.key: row for row in rows}
        self._all = self.shown = sort_rows(self._rows.values(), order.column, descending=order.descending)
        self._matches: Match | None = None
        self.phases.update(row.phase for row in self._all)
        # By column, how many rows have a text of each length.
        self._lengths = [Counter(map(len, texts)) for texts in zip(*map(_texts, self._all), strict=True)] or _no_lengths()

    def narrow(self, matches: Match | None) -> None:
        """Shows the rows that pass this test; None: all."""
        self._matches = matches
        self.shown = [row for row in self._all if matches(row.haystack, row.labels)] if matches else self._all

    def change(self, key: str, row: Row | None) -> None:
        """Puts a row in the place of the one of this key; None: there is none any more."""
        old = self._rows.pop(key, None)
        lists = [self._all] if self.shown is self._all else [self._all, self.shown]
        if old is not None:
            self._count(old, -1)
            for rows in lists:
                place = self._order.place(rows, old)
                if place < len(rows) and rows[place] is old:
                    del rows[place]
        if row is not None:
            self._rows[key] = row
            self._count(row, 1)
            for rows in lists:
                if rows is self._all or self._matches is None or self._matches(row.haystack, row.labels):
                    rows.insert(self._order.place(rows, row), row)

    def place(self, key: str) -> int | None:
        """The index among those shown; None: it is not."""
        row = self._rows.get(key)
        if row is None:
            return None
        place = self._order.place(self.shown, row)
        return place if place < len(self.shown) and self.shown[place] is row else None

    def widths(self) -> list[int]:
        """Of each column's longest text."""
        return [*(max(lengths, default=0) for lengths in self._lengths), _AGE_WIDTH]

    def _count(self, row: Row, by: int) -> None:
        self.phases[row.phase] += by
        for lengths, text in zip(self._lengths, _texts(row), strict=True):
            lengths[len(text)] += by
            if not lengths[len(text)]:
                del lengths[len(text)]


def _texts(row: Row) -> list[str]:
    return [cell.text for cell in row.cells]


def _no_lengths() -> list[Counter[int]]:
    return [Counter() for _ in COLUMNS[:-1]]
