"""Labelled fields, two to a line where there is room."""

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.widgets import Input

from kubectl_chrek.tui.plain import Plain
from kubectl_chrek.tui.views.form import Field


class Form(Container):
    """Fields and what is typed into them; each change is told by its Input."""

    DEFAULT_CSS = """
    Form {
        layout: grid; grid-size: 1; grid-rows: 1; grid-gutter: 0 2; height: auto;
        Horizontal { height: 1; }
        Plain { width: 12; color: $foreground 60%; }
        Input, Input:focus { width: 1fr; height: 1; border: none; padding: 0 1; background: $panel; }
        Input:focus { background: $surface-lighten-2; }
    }
    """

    def __init__(self, fields: Sequence[Field], values: Mapping[str, str], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._fields = fields
        self._first = values

    def compose(self) -> ComposeResult:
        """One line for each field."""
        for field in self._fields:
            with Horizontal():
                yield Plain(field.label)
                yield Input(self._first.get(field.name, ""), placeholder=field.hint, id=f"field-{field.name}")

    @property
    def values(self) -> dict[str, str]:
        """What is typed, by field."""
        return {field.name: self.query_one(f"#field-{field.name}", Input).value for field in self._fields}
