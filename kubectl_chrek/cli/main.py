"""The command line: `kubectl chrek`. Commands import what they need when they run, so that `hash` starts at once."""

from typing import ClassVar, Final

import typer

from kubectl_chrek.cli.options import FRAMEWORK, register_root
from kubectl_chrek.cli.parsing import KubectlGroup

_COMMANDS: Final = "kubectl_chrek.cli.commands"
_NAMES: Final = ("ls", "describe", "prewarm", "gc", "hash", "tui", "demo", "version")


class Chrek(KubectlGroup):
    """The root with all commands."""

    modules: ClassVar = {name: f"{_COMMANDS}.{name}" for name in _NAMES}
    aliases: ClassVar = {"get": "ls"}


app = typer.Typer(cls=Chrek, **FRAMEWORK)
register_root(app)


def main() -> None:
    """The entry point; leaves the process with one of diagnostics.ExitCode."""
    app()
