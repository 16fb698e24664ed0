"""`kubectl chrek completion`."""

from typing import Annotated

import typer

from kubectl_chrek.cli import options, output
from kubectl_chrek.cli.diagnostics import ExitCode

EXAMPLES = """
# Let kubectl complete this plugin's words, once and for all
kubectl chrek completion install

# Complete `kubectl-chrek` in this bash as well
source <(kubectl chrek completion bash)
"""


@options.command("completion", examples=EXAMPLES)
def command(
    *,
    target: Annotated[str, typer.Argument(metavar="bash|zsh|fish|install", help="A shell, or install for kubectl")],
    directory: Annotated[
        str, typer.Option("--dir", metavar="DIR", help="Where install writes; default beside kubectl-chrek", show_default=False)
    ] = "",
) -> ExitCode:
    """Complete names and flags in the shell.

    kubectl asks a program kubectl_complete-chrek in PATH: install writes it.
    """
    from kubectl_chrek.cli import shells

    options.choice("completion", target, ("bash", "zsh", "fish", "install"))
    if target == "install":
        output.write_lines([f"{shells.install(directory)} installed"])
    else:
        output.write(shells.script(target))
    return ExitCode.OK
