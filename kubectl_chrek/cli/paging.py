"""Where the pages of a long list go, so that nobody has to hold it: rows, documents, or what is printed once it is whole."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from kubectl_chrek.cli import output
from kubectl_chrek.cli.formats import CustomColumns, Format, object_name
from kubectl_chrek.cluster.resources import CHECKPOINTS

ALIGNED: Final = 1000
"""Rows that are laid out together. Those that follow have columns as wide as there have been."""

Body = dict[str, Any]
Rows = Callable[[Sequence[Any]], list[list[str]]]


class Sink(Protocol):
    """What takes the pages."""

    def add(self, bodies: Sequence[Body]) -> None:
        """Takes the next page."""

    def end(self) -> bool:
        """The list is whole; returns whether there was anything to say of it."""


class Table:
    """Rows of a table, printed as they come."""

    def __init__(self, titles: Sequence[str], rows: Rows, *, show_headers: bool) -> None:
        self._titles, self._rows_of, self._show_headers = titles, rows, show_headers
        self._widths: list[int] = []
        self._rows: list[list[str]] = []

    def add(self, bodies: Sequence[Body]) -> None:
        """Prints what has come together once it is enough to be laid out."""
        self._rows += self._rows_of(bodies)
        if len(self._rows) >= ALIGNED:
            self._flush()

    def end(self) -> bool:
        """Prints the rest."""
        if self._rows:
            self._flush()
        return bool(self._widths)

    def _flush(self) -> None:
        shown = self._show_headers and not self._widths
        self._widths = output.write_table(self._titles, self._rows, show_headers=shown, widths=self._widths)
        self._rows.clear()


class Documents:
    """A list in JSON or YAML, printed as it comes."""

    def __init__(self, kind: str) -> None:
        self._list = output.ListWriter(kind)

    def add(self, bodies: Sequence[Body]) -> None:
        """Prints the objects."""
        self._list.write(bodies)

    def end(self) -> bool:
        """Closes the list."""
        self._list.end()
        return True


class Names:
    """Names for a script: all of them or none, because a script does not see that some are missing."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def add(self, bodies: Sequence[Body]) -> None:
        """Keeps the names."""
        self._names += (object_name(CHECKPOINTS, body["metadata"]["name"]) for body in bodies)

    def end(self) -> bool:
        """Prints them."""
        output.write_lines(self._names)
        return True


class Columns:
    """The columns that a script has chosen; all or none, as names."""

    def __init__(self, spec: str, *, show_headers: bool) -> None:
        self._columns, self._show_headers = CustomColumns(spec), show_headers
        self._rows: list[list[str]] = []

    def add(self, bodies: Sequence[Body]) -> None:
        """Keeps the cells."""
        self._rows += map(self._columns.row, bodies)

    def end(self) -> bool:
        """Prints them."""
        output.write_table(self._columns.headers, self._rows, show_headers=self._show_headers)
        return True


def sink(form: Format, table: Callable[[], Table], *, show_headers: bool) -> Sink:
    """What takes a list in a format; a template (jsonpath) wants the whole list and has none."""
    match form.kind:
        case "json" | "yaml":
            return Documents(form.kind)
        case "name":
            return Names()
        case "custom-columns":
            return Columns(form.argument, show_headers=show_headers)
        case _:
            return table()
