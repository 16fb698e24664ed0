"""The command line: which commands there are, what a line of it means, how a line is completed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from kubectl_chrek.api.errors import UsageError


class Argument(StrEnum):
    """What may follow a command's name."""

    NONE = "none"
    NAMESPACE = "namespace"
    CONTEXT = "context"
    THEME = "theme"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `screen`: it leads to one, and the namespace that may follow is shown there."""

    name: str
    aliases: tuple[str, ...]
    label: str
    argument: Argument = Argument.NONE
    screen: bool = False


COMMANDS: Final = (
    Command("checkpoints", ("cp", "ckpt", "dynamocheckpoints"), "Checkpoints", Argument.NAMESPACE, screen=True),
    Command("graphs", ("dgd", "workloads"), "Graphs and workloads", Argument.NAMESPACE, screen=True),
    Command("nodes", ("no", "cknode"), "Nodes", screen=True),
    Command("storage", ("df",), "Storage", Argument.NAMESPACE, screen=True),
    Command("gc", ("plan",), "GC plan, with the flags of kubectl chrek gc", Argument.TEXT, screen=True),
    Command("doctor", ("dr",), "Doctor", Argument.NAMESPACE, screen=True),
    Command("prewarm", ("new",), "Prewarm a checkpoint", screen=True),
    Command("errors", ("err", "notes"), "What went wrong in this session", screen=True),
    Command("ns", ("namespace",), "Show a namespace; none: all of them", Argument.NAMESPACE),
    Command("ctx", ("context",), "Go to another cluster", Argument.CONTEXT),
    Command("filter", ("f",), "Filter this screen", Argument.TEXT),
    Command("theme", ("skin",), "Other colours", Argument.THEME),
    Command("save", (), "Save all that this screen tells as text, to a file", Argument.TEXT),
    Command("screenshot", ("svg",), "Save the screen as SVG, to a file", Argument.TEXT),
    Command("help", ("h",), "Keys of this screen"),
    Command("quit", ("q", "q!", "exit"), "Quit"),
)
_BY_NAME: Final = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}


def parse(line: str) -> tuple[Command, str]:
    """The command that a line names, and what follows it.

    Raises:
        UsageError: There is no such command, or it takes no argument.
    """
    name, _, rest = line.strip().removeprefix(":").strip().partition(" ")
    command = _BY_NAME.get(name.casefold())
    if command is None:
        close = get_close_matches(name.casefold(), _BY_NAME, n=1)
        hint = f"did you mean {_BY_NAME[close[0]].name}?" if close else f"one of {', '.join(each.name for each in COMMANDS)}"
        raise UsageError(f"there is no command {name!r}", hint=hint)
    argument = rest.strip()
    if argument and command.argument is Argument.NONE:
        raise UsageError(f"{command.name} takes no argument, got {argument!r}")
    return command, argument


def complete(line: str, offers: Mapping[Argument, Sequence[str]]) -> str:
    """The line with its last word completed by the first that fits; the line itself when none does.

    Args:
        line: What has been typed.
        offers: What is known of each kind of argument.
    """
    name, space, rest = line.partition(" ")
    if not space:
        names = [command.name for command in COMMANDS]
        return next((each for each in names if each.startswith(name.casefold())), line) if name else line
    command = _BY_NAME.get(name.casefold())
    known = offers.get(command.argument, ()) if command else ()
    found = next((each for each in known if each.startswith(rest)), rest)
    return f"{name} {found}"
