"""The command line: `kubectl chrek`. Commands import what they need when they run, so that `hash` starts at once."""

import gc
import sys
from importlib.util import find_spec, module_from_spec
from typing import ClassVar, Final

import typer

from kubectl_chrek.cli.options import FRAMEWORK, register_root
from kubectl_chrek.cli.parsing import KubectlGroup

_COMPLETE: Final = "__complete"
"""What kubectl's completion runs; no command, because what follows are words of another command line."""
_COMMANDS: Final = "kubectl_chrek.cli.commands"
_SUMMARIES: Final = {
    "ls": "List checkpoints",
    "describe": "Show all that is known of checkpoints",
    "inspect": "Show what lies in checkpoints",
    "diff": "Show in what two checkpoints differ",
    "events": "Show events about checkpoints, with their Jobs and pods",
    "logs": "Show the logs of a checkpoint's Job, agents and workers as one",
    "prewarm": "Create the checkpoint of an identity or graph",
    "pin": "Keep checkpoints from being collected by gc or a policy",
    "unpin": "Let checkpoints be collected again",
    "verify": "Have agents read artifacts back and compare every digest",
    "gc": "Delete checkpoints and their artifacts",
    "undelete": "Keep checkpoints that gc has marked for deletion",
    "export": "Write a checkpoint and its artifact to one file",
    "import": "Create a checkpoint from a file, its artifact included",
    "copy": "Copy a checkpoint's artifact to another store",
    "df": "Show what checkpoints take in the store",
    "compat": "Show which nodes can restore which checkpoints, and why not",
    "hash": "Print the hash of an identity, or of every identity in files",
    "doctor": "Look for what is wrong, and for what mends it",
    "tui": "Browse checkpoints, live",
    "demo": "Capture and restore a worker on this machine",
    "completion": "Complete names and flags in the shell",
    "version": "Print the version",
}
"""The first line of each command's help, in the order of help: to tell of all commands none has to be imported."""


class Chrek(KubectlGroup):
    """The root with all commands."""

    # `import` is no name for a module.
    modules: ClassVar = {name: f"{_COMMANDS}.{name}" for name in _SUMMARIES} | {"import": f"{_COMMANDS}.importing"}
    summaries: ClassVar = _SUMMARIES
    aliases: ClassVar = {"get": "ls"}


app = typer.Typer(cls=Chrek, **FRAMEWORK)
register_root(app)


def import_parts(*packages: str) -> None:
    """Makes packages from which parts can be imported without all the others.

    Of the Kubernetes client we use a connection and a reader of kubeconfigs; importing the package itself imports a second client,
    a validator of schemas and more, which takes longer than most commands do.
    """
    for name in packages:
        spec = find_spec(name)
        if spec is not None and name not in sys.modules:
            sys.modules[name] = module_from_spec(spec)


def main() -> None:
    """The entry point; leaves the process with one of diagnostics.ExitCode."""
    # Ten thousand objects hold no cycles, but by default the collector would look through all of them again and again.
    gc.set_threshold(100_000, 50, 50)
    if "demo" not in sys.argv:  # Which has programs that use more of it.
        import_parts("kubernetes", "kubernetes.aio")
    if sys.argv[1:2] == [_COMPLETE]:
        from kubectl_chrek.cli.completing import complete

        complete(typer.main.get_command(app), sys.argv[2:])
        return
    app()
