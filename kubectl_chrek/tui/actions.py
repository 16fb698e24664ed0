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
    VIEW = "view"
    """Every screen that is a table."""
    LOG = "log"
    LIST = "list"
    """The checkpoints."""
    DETAIL = "detail"
    DIFF = "diff"
    GRAPHS = "graphs"
    STORAGE = "storage"
    PLAN = "plan"
    FORM = "form"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a key does. `method` is a Textual action of the part that answers."""

    where: Where
    name: str
    keys: str
    method: str
    label: str
    footer: bool = False
    needs: str = ""
    """The verb on checkpoints that it takes. Whoever may not use it is not offered it, nor is a read-only session."""
    shown_key: str | None = None
    typed: bool = False
    """What follows is typed: the key is heeded before any other, so that no letter of a fast hand acts as a key."""

    @property
    def id(self) -> str:
        """The stable name."""
        return f"{self.where}.{self.name}"

    @property
    def binding(self) -> Binding:
        """The action as Textual binds it."""
        return Binding(
            self.keys,
            self.method,
            self.label,
            show=self.footer,
            key_display=self.shown_key,
            priority=self.typed,
            id=self.id,
        )


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
    Action(Where.LOG, "left", "left", "pan(-1)", "Half a screen to the left"),
    Action(Where.LOG, "right", "right", "pan(1)", "Half a screen to the right"),
    Action(Where.VIEW, "filter", "slash", "filter", "Filter", footer=True, shown_key="/", typed=True),
    Action(Where.VIEW, "clear", "escape", "clear", "Clear filter, then marks; then back"),
    Action(Where.VIEW, "namespace", "n", "choose_namespace", "Namespace", footer=True),
    Action(Where.VIEW, "all-namespaces", "0", "all_namespaces", "All namespaces"),
    Action(Where.VIEW, "copy", "c", "copy_name", "Copy name"),
    Action(Where.VIEW, "refresh", "ctrl+r", "refresh_watch", "Refresh"),
    Action(Where.LIST, "open", "enter", "open_row", "Open", footer=True),
    Action(Where.LIST, "describe", "d", "open_tab('overview')", "Describe"),
    Action(Where.LIST, "yaml", "y", "open_tab('yaml')", "YAML"),
    Action(Where.LIST, "logs", "l", "open_tab('logs')", "Logs"),
    Action(Where.LIST, "events", "v", "open_tab('events')", "Events"),
    Action(Where.LIST, "inspect", "i", "open_tab('artifact')", "Inspect artifact"),
    Action(Where.LIST, "mark", "space", "mark", "Mark"),
    Action(Where.LIST, "range", "ctrl+@,ctrl+space", "mark_range", "Mark from the last mark to here"),
    Action(Where.LIST, "unmark", "ctrl+backslash", "unmark", "Unmark all"),
    Action(Where.LIST, "diff", "x", "diff", "Compare the two marked"),
    Action(Where.LIST, "sort-name", "N", "sort('name')", "Sort by name"),
    Action(Where.LIST, "sort-age", "A", "sort('age')", "Sort by age"),
    Action(Where.LIST, "sort-size", "S", "sort('size')", "Sort by size"),
    Action(Where.LIST, "sort-phase", "P", "sort('phase')", "Sort by phase"),
    Action(Where.LIST, "prewarm", "w", "prewarm", "Prewarm", footer=True, needs="create"),
    Action(Where.LIST, "pin", "p", "pin", "Pin or unpin", needs="patch"),
    Action(Where.LIST, "verify", "V", "verify", "Verify", needs="patch"),
    Action(Where.LIST, "undelete", "u", "undelete", "Undelete", needs="patch"),
    Action(Where.LIST, "delete", "ctrl+d", "delete", "Delete", footer=True, needs="delete"),
    Action(Where.LIST, "plan", "ctrl+g", "app.command('gc')", "GC plan"),
    Action(Where.LIST, "storage", "D", "app.command('storage')", "Storage"),
    Action(Where.DETAIL, "back", "escape,backspace", "back", "Back", footer=True),
    Action(Where.DETAIL, "overview", "1,d,o", "tab('overview')", "Overview"),
    Action(Where.DETAIL, "timeline", "2,t", "tab('timeline')", "Timeline"),
    Action(Where.DETAIL, "pods", "3,p", "tab('pods')", "Pods"),
    Action(Where.DETAIL, "events", "4,v", "tab('events')", "Events"),
    Action(Where.DETAIL, "logs", "5,l", "tab('logs')", "Logs"),
    Action(Where.DETAIL, "yaml", "6,y", "tab('yaml')", "YAML"),
    Action(Where.DETAIL, "identity", "7,w", "tab('identity')", "Hash"),
    Action(Where.DETAIL, "compat", "8,m", "tab('compat')", "Compatible nodes"),
    Action(Where.DETAIL, "artifact", "9,i", "tab('artifact')", "Artifact"),
    Action(Where.DETAIL, "edit", "e", "edit", "What if", footer=True),
    Action(Where.DETAIL, "copy", "c", "copy_name", "Copy name"),
    Action(Where.DETAIL, "refresh", "ctrl+r", "refresh_watch", "Refresh"),
    Action(Where.DETAIL, "pin", "P", "pin", "Pin or unpin", needs="patch"),
    Action(Where.DETAIL, "verify", "V", "verify", "Verify", needs="patch"),
    Action(Where.DETAIL, "undelete", "u", "undelete", "Undelete", needs="patch"),
    Action(Where.DETAIL, "delete", "ctrl+d", "delete", "Delete", footer=True, needs="delete"),
    Action(Where.DIFF, "back", "escape,backspace", "back", "Back", footer=True),
    Action(Where.DIFF, "swap", "x", "swap", "Swap the sides", footer=True),
    Action(Where.DIFF, "refresh", "ctrl+r", "refresh_watch", "Refresh"),
    Action(Where.GRAPHS, "open", "enter", "open_row", "Open its checkpoint", footer=True),
    Action(Where.STORAGE, "what-if", "e", "app.open_command_line('gc --unreferenced ')", "What would a policy free", footer=True),
    Action(Where.PLAN, "policy", "e", "edit_policy", "Edit the policy", footer=True),
    Action(Where.PLAN, "take-out", "space", "take_out", "Take out or in", footer=True),
    Action(Where.PLAN, "unreferenced", "1", "rule('unreferenced')", "Unreferenced"),
    Action(Where.PLAN, "failed", "2", "rule('failed')", "Failed"),
    Action(Where.PLAN, "orphans", "3", "rule('orphans')", "Orphans"),
    Action(Where.PLAN, "incompatible", "4", "rule('incompatible')", "Incompatible"),
    Action(Where.PLAN, "run", "enter", "run_plan", "Run the plan", footer=True, needs="patch"),
    Action(Where.FORM, "back", "escape", "back", "Back", footer=True),
    Action(Where.FORM, "submit", "ctrl+j", "submit", "Create", footer=True, needs="create"),
    Action(Where.APP, "command", "colon", "open_command_line", "Command", footer=True, shown_key=":", typed=True),
    Action(Where.APP, "errors", "ctrl+e", "command('errors')", "What went wrong"),
    Action(Where.APP, "screenshot", "ctrl+s", "command('screenshot')", "Save the screen as SVG"),
    Action(Where.APP, "help", "question_mark", "toggle_help", "Help", footer=True, shown_key="?"),
    Action(Where.APP, "quit", "q", "quit", "Quit", footer=True),
)
NEEDS: Final = {action.method: action.needs for action in ACTIONS if action.needs}
"""By Textual action, the verb on checkpoints that it takes."""


def bindings(where: Where) -> Iterator[Binding]:
    """The bindings of one part of the TUI."""
    return (action.binding for action in ACTIONS if action.where is where)
