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
_NAMES: Final = (
    *("ls", "describe", "inspect", "diff", "events", "logs"),
    *("prewarm", "pin", "unpin", "verify", "gc", "undelete"),
    *("export", "import", "copy"),
    *("df", "compat", "hash", "doctor", "tui", "demo", "completion", "version"),
)


class Chrek(KubectlGroup):
    """The root with all commands."""

    # `import` is no name for a module.
    modules: ClassVar = {name: f"{_COMMANDS}.{name}" for name in _NAMES} | {"import": f"{_COMMANDS}.importing"}
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
