"""The questions that the TUI asks."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList
from textual.widgets.option_list import Option

from kubectl_chrek.ops.formatting import human_duration
from kubectl_chrek.tui.plain import Plain, clean

_NAMED = 8


class Answer(Enum):
    """What became of a question about deleting."""

    CANCEL = "cancel"
    LATER = "later"
    NOW = "now"


class ConfirmDelete(ModalScreen[Answer]):
    """Asks before checkpoints are deleted; whoever only presses enter keeps them, and what cannot be undone takes typing."""

    DEFAULT_CSS = """
    ConfirmDelete {
        align: center middle;
        & > Vertical {
            width: 68; max-width: 90%; height: auto; max-height: 90%;
            padding: 1 2; background: $surface; border: round $error;
        }
        #delete-title { text-style: bold; color: $text-error; }
        #delete-names { margin: 1 0; }
        #delete-word { height: 1; border: none; padding: 0 1; margin-top: 1; background: $panel; }
        Horizontal { height: auto; align-horizontal: right; margin-top: 1; }
        Button { margin-left: 2; }
    }
    """
    BINDINGS = [
        ("escape", "cancel", "Cancel"),
        ("left,h", "app.focus_previous", "Previous button"),
        ("right,l", "app.focus_next", "Next button"),
    ]
    AUTO_FOCUS = "#delete-cancel"

    def __init__(self, names: Sequence[str], size: str, grace: timedelta, word: str) -> None:
        super().__init__()
        self._names = names
        self._lost = size
        self._grace = human_duration(grace.total_seconds())
        self._word = clean(word)

    def compose(self) -> ComposeResult:
        """The names, what is lost, and three buttons."""
        count = f"{len(self._names)} checkpoints" if len(self._names) > 1 else "this checkpoint"
        shown = [*self._names[:_NAMED]]
        if len(self._names) > _NAMED:
            shown.append(f"and {len(self._names) - _NAMED} more")
        with Vertical():
            yield Plain(f"Delete {count}?", id="delete-title")
            yield Plain("\n".join(clean(name) for name in shown), id="delete-names")
            yield Plain(f"The artifacts go too ({self._lost}). Pods that start later start cold.")
            with Horizontal():
                yield Button("Cancel", id="delete-cancel")
                yield Button(f"In {self._grace}", variant="warning", id="delete-later")
                yield Button("Now", variant="error", id="delete-now", disabled=True)
            yield Input(placeholder=f"Now cannot be undone: type {self._word} for it", id="delete-word")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Only the right word opens the last button."""
        self.query_one("#delete-now", Button).disabled = event.value.strip() != self._word

    def on_input_submitted(self) -> None:
        """Goes to the last button, if it is open."""
        self.set_focus(self.query_one("#delete-now", Button))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Each button answers."""
        self.dismiss(Answer(str(event.button.id).removeprefix("delete-")))

    def action_cancel(self) -> None:
        """Answers by key."""
        self.dismiss(Answer.CANCEL)


class Choose(ModalScreen[str | None]):
    """Asks which of several; None when nothing was chosen.

    Args:
        title: What they are.
        choices: The answers that there are.
        current: The one that is under the cursor to begin with.
        label: How an answer is shown.
    """

    DEFAULT_CSS = """
    Choose {
        align: center middle;
        & > Vertical {
            width: 48; max-width: 90%; height: auto; max-height: 80%;
            padding: 1 2; background: $surface; border: round $primary;
        }
        OptionList { height: auto; max-height: 100%; margin-top: 1; padding: 0; }
        OptionList, OptionList:focus { border: none; }
    }
    """
    BINDINGS = [
        ("escape", "leave", "Cancel"),
        ("j", "down", "Down"),
        ("k", "up", "Up"),
    ]

    def __init__(self, title: str, choices: Sequence[str], current: str, label: Callable[[str], str] = str) -> None:
        super().__init__()
        self._title = title
        self._choices = choices
        self._current = current
        self._label = label

    def compose(self) -> ComposeResult:
        """The list."""
        options = [Option(clean(self._label(choice))) for choice in self._choices]
        with Vertical():
            yield Plain(self._title)
            yield OptionList(*options, markup=False)

    def on_mount(self) -> None:
        """Puts the cursor on the present one."""
        if self._current in self._choices:
            self.query_one(OptionList).highlighted = self._choices.index(self._current)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Answers."""
        self.dismiss(self._choices[event.option_index])

    def action_leave(self) -> None:
        """Leaves things as they are."""
        self.dismiss(None)

    def action_down(self) -> None:
        """As the arrow."""
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        """As the arrow."""
        self.query_one(OptionList).action_cursor_up()
