"""The line at the bottom that takes a command."""

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input

from kubectl_chrek.tui.commands import Argument, complete


class _Completion(Suggester):
    """The rest of the word, as the commands and what is known of their arguments have it."""

    def __init__(self, offers: Mapping[Argument, Sequence[str]]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._offers = offers

    async def get_suggestion(self, value: str) -> str | None:
        """The whole line, completed."""
        found = complete(value, self._offers)
        return found if found != value else None


class CommandLine(ModalScreen[str]):
    """Asks for a line; empty when none was given. Tab completes, up and down go through former lines.

    Args:
        history: Former lines, the latest last.
        offers: What is known of each kind of argument.
        text: What stands in the line at first.
    """

    DEFAULT_CSS = """
    CommandLine {
        align: left bottom; background: transparent;
        Input, Input:focus { dock: bottom; height: 3; border: round $primary; background: $surface; }
    }
    """
    BINDINGS = [
        ("escape", "leave", "Cancel"),
        ("up", "older", "Older"),
        ("down", "newer", "Newer"),
        ("tab", "complete", "Complete"),
    ]
    AUTO_FOCUS = "Input"

    def __init__(self, history: Sequence[str], offers: Mapping[Argument, Sequence[str]], text: str = "") -> None:
        super().__init__()
        self._history = history
        self._offers = offers
        self._text = text
        self._place = len(history)

    def compose(self) -> ComposeResult:
        """One line."""
        hint = "nodes, graphs, storage, gc, doctor, ns NAME, ctx NAME, filter ..."
        yield Input(self._text, placeholder=hint, suggester=_Completion(self._offers), select_on_focus=False)

    @property
    def _line(self) -> Input:
        return self.query_one(Input)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answers."""
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Without a command."""
        self.dismiss("")

    def action_complete(self) -> None:
        """Takes what is suggested."""
        self._show(complete(self._line.value, self._offers))

    def action_older(self) -> None:
        """The line before."""
        self._go(-1)

    def action_newer(self) -> None:
        """The line after."""
        self._go(1)

    def _go(self, by: int) -> None:
        self._place = min(max(self._place + by, 0), len(self._history))
        self._show(self._history[self._place] if self._place < len(self._history) else "")

    def _show(self, text: str) -> None:
        self._line.value = text
        self._line.cursor_position = len(text)
