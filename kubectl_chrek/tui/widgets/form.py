"""Labelled fields, two to a line where there is room."""

from collections.abc import Mapping, Sequence
from typing import Final

from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.widgets import Input

from kubectl_chrek.tui.plain import Plain
from kubectl_chrek.tui.views.form import Field

_PREFIX: Final = "field-"


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
        self._values = {field.name: values.get(field.name, "") for field in fields}

    def compose(self) -> ComposeResult:
        """One line for each field."""
        for field in self._fields:
            with Horizontal():
                yield Plain(field.label)
                yield Input(self._values[field.name], placeholder=field.hint, id=f"{_PREFIX}{field.name}")

    @property
    def values(self) -> dict[str, str]:
        """What is typed, by field; also before the fields are there."""
        return dict(self._values)

    def edit(self) -> None:
        """Goes to the first field, once it is there."""
        self.call_after_refresh(self._focus_first)

    def _focus_first(self) -> None:
        for field in self.query(Input):
            field.focus()
            return

    def on_input_changed(self, event: Input.Changed) -> None:
        """Keeps what was typed; the screen hears of it as well."""
        self._values[str(event.input.id).removeprefix(_PREFIX)] = event.value
