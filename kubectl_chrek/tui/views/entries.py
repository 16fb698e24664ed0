"""A row of the smaller tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from textual.content import Content

from kubectl_chrek.tui.widgets.cells import Cell

View = Callable[[int], Content]
"""Text for a width."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row. `checkpoint` is the name of the one that it is about, empty when it is about none; `about` tells more of the row."""

    key: str
    name: str
    cells: tuple[Cell, ...]
    about: View
    namespace: str = ""
    checkpoint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def haystack(self) -> str:
        """What a filter searches."""
        return "\n".join(cell.text for cell in self.cells).casefold()
