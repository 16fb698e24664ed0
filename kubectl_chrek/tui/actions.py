"""Every key of the TUI, once: the bindings, the footer, the help panel and the palette all read this registry.

Ids are public: users may map other keys to them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from textual.binding import Binding


class Where(StrEnum):
    """Which part of the TUI answers."""

    APP = "app"
    TABLE = "table"
    TEXT = "text"
    LIST = "list"
    DETAIL = "detail"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a key does. `method` is a Textual action of the part that answers."""

    where: Where
    name: str
    keys: str
    method: str
    label: str
    footer: bool = False
    writes: bool = False
    """It changes the cluster, so it does not exist in a read-only session."""
    shown_key: str | None = None

    @property
    def id(self) -> str:
        """The stable name."""
        return f"{self.where}.{self.name}"

    @property
    def binding(self) -> Binding:
        """The action as Textual binds it."""
        return Binding(self.keys, self.method, self.label, show=self.footer, key_display=self.shown_key, id=self.id)


ACTIONS: Final = (
    Action(Where.TABLE, "up", "up,k", "move(-1)", "Row up"),
    Action(Where.TABLE, "down", "down,j", "move(1)", "Row down"),
    Action(Where.TABLE, "page-up", "pageup,ctrl+b", "page(-1)", "Page up"),
    Action(Where.TABLE, "page-down", "pagedown,ctrl+f", "page(1)", "Page down"),
    Action(Where.TABLE, "first", "home,g", "first", "First row"),
    Action(Where.TABLE, "last", "end,G", "last", "Last row"),
    Action(Where.TEXT, "up", "up,k", "scroll_up", "Line up"),
    Action(Where.TEXT, "down", "down,j", "scroll_down", "Line down"),
    Action(Where.TEXT, "page-up", "pageup,ctrl+b", "page_up", "Page up"),
    Action(Where.TEXT, "page-down", "pagedown,ctrl+f,space", "page_down", "Page down"),
    Action(Where.TEXT, "first", "home,g", "scroll_home", "Top"),
    Action(Where.TEXT, "last", "end,G", "scroll_end", "Bottom"),
    Action(Where.LIST, "open", "enter", "open_row", "Open", footer=True),
    Action(Where.LIST, "filter", "slash", "filter", "Filter", footer=True, shown_key="/"),
    Action(Where.LIST, "describe", "d", "open_tab('overview')", "Describe"),
    Action(Where.LIST, "yaml", "y", "open_tab('yaml')", "YAML", footer=True),
    Action(Where.LIST, "logs", "l", "open_tab('logs')", "Logs", footer=True),
    Action(Where.LIST, "events", "v", "open_tab('events')", "Events"),
    Action(Where.LIST, "namespace", "n", "choose_namespace", "Namespace", footer=True),
    Action(Where.LIST, "all-namespaces", "0", "all_namespaces", "All namespaces"),
    Action(Where.LIST, "mark", "space", "mark", "Mark"),
    Action(Where.LIST, "clear", "escape", "clear", "Clear filter, then marks"),
    Action(Where.LIST, "sort-name", "N", "sort('name')", "Sort by name"),
    Action(Where.LIST, "sort-age", "A", "sort('age')", "Sort by age"),
    Action(Where.LIST, "sort-size", "S", "sort('size')", "Sort by size"),
    Action(Where.LIST, "sort-phase", "P", "sort('phase')", "Sort by phase"),
    Action(Where.LIST, "copy", "c", "copy_name", "Copy name"),
    Action(Where.LIST, "refresh", "ctrl+r", "refresh_watch", "Refresh"),
    Action(Where.LIST, "delete", "ctrl+d", "delete", "Delete", footer=True, writes=True),
    Action(Where.DETAIL, "back", "escape,backspace", "back", "Back", footer=True),
    Action(Where.DETAIL, "overview", "1,d,o", "tab('overview')", "Overview"),
    Action(Where.DETAIL, "timeline", "2,t", "tab('timeline')", "Timeline", footer=True),
    Action(Where.DETAIL, "pods", "3,p", "tab('pods')", "Pods", footer=True),
    Action(Where.DETAIL, "events", "4,v", "tab('events')", "Events"),
    Action(Where.DETAIL, "logs", "5,l", "tab('logs')", "Logs", footer=True),
    Action(Where.DETAIL, "yaml", "6,y", "tab('yaml')", "YAML", footer=True),
    Action(Where.DETAIL, "copy", "c", "copy_name", "Copy name"),
    Action(Where.DETAIL, "refresh", "ctrl+r", "refresh_watch", "Refresh"),
    Action(Where.DETAIL, "delete", "ctrl+d", "delete", "Delete", footer=True, writes=True),
    Action(Where.APP, "help", "question_mark", "toggle_help", "Help", footer=True, shown_key="?"),
    Action(Where.APP, "quit", "q", "quit", "Quit", footer=True),
)
WRITING: Final = frozenset(action.method for action in ACTIONS if action.writes)


def bindings(where: Where) -> Iterator[Binding]:
    """The bindings of one part of the TUI."""
    return (action.binding for action in ACTIONS if action.where is where)
